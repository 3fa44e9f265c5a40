package aws

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"

	maxValue    = 65536
	maxVersions = 100
	suffix      = 6 // characters at the end of an ARN
)

// stored is a secret.
type stored struct {
	arn, name, description string
	tags                   []tag
	created, changed       time.Time
	deleted                time.Time // when it was marked for deletion
	versions               []*version
}

type version struct {
	id      string
	text    *string
	binary  []byte
	stages  []string
	created time.Time
}

var validName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]{1,512}$`) // "!" in those that AWS manages

// suffixed is the end of a whole ARN.
var suffixed = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

func (c *Cloud) secretsManager(one call) ([]byte, error) {
	var in request
	if err := json.Unmarshal(one.body, &in); err != nil {
		return nil, refusal("SerializationException", "the request is no JSON")
	}
	if !c.faults.may(one.operation, "") {
		return nil, denied(one, "*")
	}
	operations := map[string]func(call, request) (any, error){
		"GetSecretValue": c.getSecretValue, "BatchGetSecretValue": c.batchGetSecretValue,
		"ListSecrets": c.listSecrets, "DescribeSecret": c.describeSecret, "ListSecretVersionIds": c.listSecretVersionIDs,
		"CreateSecret": c.createSecret, "PutSecretValue": c.putSecretValue, "UpdateSecretVersionStage": c.updateSecretVersionStage,
		"DeleteSecret": c.deleteSecret, "RestoreSecret": c.restoreSecret,
	}
	do, ok := operations[one.operation]
	if !ok {
		return nil, refusal("UnknownOperationException", "")
	}
	out, err := do(one, in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// find returns the secret that a name, an ARN, or an ARN without its random
// suffix names, if the caller may do this with it. What ends as a whole ARN does
// is taken for one, even where it is a name that ends so:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen
func (c *Cloud) find(one call, id string) (*stored, error) {
	if id == "" {
		return nil, refusal("ValidationException", "1 validation error detected: Value at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	name, isARN := strings.CutPrefix(id, arnPrefix())
	whole := isARN && suffixed.MatchString(name)
	if whole {
		name = name[:len(name)-suffix-1]
	}
	if !c.faults.may(one.operation, name) || one.operation == "BatchGetSecretValue" && !c.faults.may("GetSecretValue", name) {
		return nil, denied(one, id)
	}
	s := c.secrets[name]
	if s == nil || whole && s.arn != id {
		return nil, refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return s, nil
}

func arnPrefix() string { return "arn:aws:secretsmanager:" + Region + ":" + Account + ":secret:" }

func (s *stored) inUse() error {
	if !s.deleted.IsZero() {
		return refusal("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return nil
}

func (s *stored) byStage(stage string) *version {
	for _, v := range s.versions {
		if slices.Contains(v.stages, stage) {
			return v
		}
	}
	return nil
}

func (s *stored) byID(id string) *version {
	for _, v := range s.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

// move attaches a stage to a version. AWSCURRENT leaves AWSPREVIOUS behind.
func (s *stored) move(stage string, to *version) {
	from := s.byStage(stage)
	if from == to {
		return
	}
	if from != nil {
		from.drop(stage)
	}
	to.stages = append(to.stages, stage)
	if stage == current && from != nil {
		to.drop(previous)
		s.move(previous, from)
	}
}

func (v *version) drop(stage string) {
	v.stages = slices.DeleteFunc(v.stages, func(s string) bool { return s == stage })
}

func (c *Cloud) createSecret(_ call, in request) (any, error) {
	if !validName.MatchString(in.Name) {
		return nil, refusal("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if s := c.secrets[in.Name]; s != nil {
		if !s.deleted.IsZero() {
			return nil, refusal("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
		}
		return nil, refusal("ResourceExistsException", "The operation failed because the secret %s already exists.", in.Name)
	}
	s := &stored{
		arn: arnPrefix() + in.Name + "-" + c.random.mixed(suffix), name: in.Name, description: in.Description,
		tags: in.Tags, created: c.now(), changed: c.now(),
	}
	out := writeAnswer{ARN: s.arn, Name: s.name}
	if in.SecretString != nil || in.SecretBinary != nil {
		v, err := c.add(s, in)
		if err != nil {
			return nil, err
		}
		out.VersionID = v.id
	}
	c.secrets[s.name] = s
	return out, nil
}

// add adds a version. The same token with the same content is the same call
// made twice.
func (c *Cloud) add(s *stored, in request) (*version, error) {
	text := in.SecretString != nil
	if text == (in.SecretBinary != nil) {
		return nil, refusal("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
	}
	if text && len(*in.SecretString) > maxValue || len(in.SecretBinary) > maxValue {
		return nil, refusal("ValidationException", "Member must have length less than or equal to %d", maxValue)
	}
	if in.ClientRequestToken == "" {
		return nil, refusal("InvalidRequestException", "You must provide a ClientRequestToken value.")
	}
	if old := s.byID(in.ClientRequestToken); old != nil {
		same := text && old.text != nil && *old.text == *in.SecretString || !text && string(old.binary) == string(in.SecretBinary) && old.text == nil
		if !same {
			return nil, refusal("ResourceExistsException", "You provided a ClientRequestToken that is already in use with other content.")
		}
		return old, nil
	}
	v := &version{id: in.ClientRequestToken, text: in.SecretString, binary: in.SecretBinary, created: c.now()}
	first := len(s.versions) == 0
	s.versions = append(s.versions, v)
	stages := in.VersionStages
	if len(stages) == 0 || first && !slices.Contains(stages, current) {
		stages = append([]string{current}, stages...)
	}
	for _, stage := range stages {
		s.move(stage, v)
	}
	s.prune()
	s.changed = c.now()
	return v, nil
}

// prune drops the oldest versions that no stage is attached to.
func (s *stored) prune() {
	for i := 0; len(s.versions) > maxVersions && i < len(s.versions); {
		if len(s.versions[i].stages) > 0 {
			i++
			continue
		}
		s.versions = slices.Delete(s.versions, i, i+1)
	}
}

func (c *Cloud) putSecretValue(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := s.inUse(); err != nil {
		return nil, err
	}
	v, err := c.add(s, in)
	if err != nil {
		return nil, err
	}
	return writeAnswer{ARN: s.arn, Name: s.name, VersionID: v.id, VersionStages: v.stages}, nil
}

func (c *Cloud) updateSecretVersionStage(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := s.inUse(); err != nil {
		return nil, err
	}
	holder := s.byStage(in.VersionStage)
	if holder != nil && in.RemoveFromVersionID != holder.id || holder == nil && in.RemoveFromVersionID != "" {
		return nil, refusal("InvalidParameterException", "The parameter RemoveFromVersionId must name the version that the staging label %s is attached to.", in.VersionStage)
	}
	if in.MoveToVersionID == "" {
		if in.VersionStage == current || holder == nil {
			return nil, refusal("InvalidParameterException", "You can only move staging label %s to a different version; you can't remove it.", in.VersionStage)
		}
		holder.drop(in.VersionStage)
	} else {
		to := s.byID(in.MoveToVersionID)
		if to == nil {
			return nil, refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
		}
		s.move(in.VersionStage, to)
	}
	s.changed = c.now()
	return writeAnswer{ARN: s.arn, Name: s.name}, nil
}

func (c *Cloud) deleteSecret(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	days := in.RecoveryWindowInDays
	switch {
	case in.ForceDeleteWithoutRecovery && days != 0:
		return nil, refusal("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case in.ForceDeleteWithoutRecovery:
		delete(c.secrets, s.name)
		return writeAnswer{ARN: s.arn, Name: s.name, DeletionDate: at(c.now())}, nil
	case days == 0:
		days = 30
	case days < 7 || days > 30:
		return nil, refusal("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	if err := s.inUse(); err != nil {
		return nil, err
	}
	s.deleted = c.now()
	return writeAnswer{ARN: s.arn, Name: s.name, DeletionDate: at(s.deleted.AddDate(0, 0, days))}, nil
}

func (c *Cloud) restoreSecret(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	s.deleted = time.Time{}
	return writeAnswer{ARN: s.arn, Name: s.name}, nil
}
