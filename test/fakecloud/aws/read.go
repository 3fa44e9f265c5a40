package aws

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxBatch = 20
	maxPage  = 100
)

// page is where a list goes on: the names that are left.
type page struct {
	operation string
	names     []string
}

func (c *Cloud) getSecretValue(one call, in request) (any, error) {
	return c.value(one, in)
}

func (c *Cloud) value(one call, in request) (valueEntry, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return valueEntry{}, err
	}
	if err := s.inUse(); err != nil {
		return valueEntry{}, err
	}
	if err := c.faults.failure(s.name); err != nil {
		return valueEntry{}, err
	}
	v, err := s.pick(in.VersionID, in.VersionStage)
	if err != nil {
		return valueEntry{}, err
	}
	return valueEntry{
		ARN: s.arn, Name: s.name, VersionID: v.id, SecretString: v.text, SecretBinary: v.binary,
		VersionStages: v.stages, CreatedDate: at(v.created),
	}, nil
}

// pick returns the version of an id, a stage, or both; AWSCURRENT without
// either.
func (s *stored) pick(id, stage string) (*version, error) {
	if id != "" {
		v := s.byID(id)
		if v == nil {
			return nil, refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
		}
		if stage != "" && !slices.Contains(v.stages, stage) {
			return nil, refusal("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
		}
		return v, nil
	}
	stage = cmp.Or(stage, current)
	if v := s.byStage(stage); v != nil {
		return v, nil
	}
	return nil, refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
}

// batchGetSecretValue reads current versions. What cannot be read stands among
// the errors of an answer that is none; the order is not that of the request.
func (c *Cloud) batchGetSecretValue(one call, in request) (any, error) {
	switch {
	case (len(in.SecretIDList) == 0) == (len(in.Filters) == 0 && in.NextToken == ""):
		return nil, refusal("InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case len(in.SecretIDList) > maxBatch:
		return nil, refusal("ValidationException", "1 validation error detected: Value at 'secretIdList' failed to satisfy constraint: Member must have length less than or equal to 20")
	case len(in.SecretIDList) > 0 && in.MaxResults != 0:
		return nil, refusal("InvalidParameterException", "You can only use MaxResults with Filters.")
	}
	out := batchAnswer{SecretValues: []valueEntry{}, Errors: []batchError{}}
	ids := slices.Clone(in.SecretIDList)
	if len(ids) == 0 {
		var err error
		if ids, out.NextToken, err = c.matching(one, in, maxBatch); err != nil {
			return nil, err
		}
	}
	slices.Reverse(ids)
	for _, id := range ids {
		entry, err := c.value(one, request{SecretID: id})
		if err == nil {
			out.SecretValues = append(out.SecretValues, entry)
			continue
		}
		var f *failure
		if !errors.As(err, &f) {
			return nil, err
		}
		message := f.message
		if quote := c.faults.quoted(); quote != "" {
			message += " (" + quote + ")"
		}
		out.Errors = append(out.Errors, batchError{SecretID: id, ErrorCode: f.code, Message: message})
	}
	return out, nil
}

func (c *Cloud) listSecrets(one call, in request) (any, error) {
	names, next, err := c.matching(one, in, maxPage)
	if err != nil {
		return nil, err
	}
	out := listAnswer{SecretList: []described{}, NextToken: next}
	for _, name := range names {
		if s := c.secrets[name]; s != nil {
			d := s.describe()
			d.SecretVersionsToStages, d.VersionIDsToStages = d.VersionIDsToStages, nil
			out.SecretList = append(out.SecretList, d)
		}
	}
	return out, nil
}

// matching returns one page of the names that filters leave, and the token of
// the next one.
func (c *Cloud) matching(one call, in request, most int) (names []string, next string, err error) {
	if in.MaxResults < 0 || in.MaxResults > most {
		return nil, "", refusal("ValidationException", "Value at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to %d", most)
	}
	if in.NextToken != "" {
		from, ok := c.pages[in.NextToken]
		if !ok || from.operation != one.operation {
			return nil, "", refusal("InvalidNextTokenException", "Invalid NextToken")
		}
		names = from.names
	} else if names, err = c.filtered(in); err != nil {
		return nil, "", err
	}
	if size := cmp.Or(in.MaxResults, most); len(names) > size {
		next = c.random.mixed(64)
		c.pages[next] = page{operation: one.operation, names: names[size:]}
		names = names[:size]
	}
	return names, next, nil
}

func (c *Cloud) filtered(in request) ([]string, error) {
	var found []*stored
	for _, s := range c.secrets {
		ok := in.IncludePlannedDeletion || s.deleted.IsZero()
		for _, f := range in.Filters {
			matches, err := s.matches(f)
			if err != nil {
				return nil, err
			}
			ok = ok && matches
		}
		if ok {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, order(in))
	names := make([]string, len(found))
	for i, s := range found {
		names[i] = s.name
	}
	return names, nil
}

func order(in request) func(a, b *stored) int {
	by := func(a, b *stored) int { return a.created.Compare(b.created) }
	switch in.SortBy {
	case "last-changed-date":
		by = func(a, b *stored) int { return a.changed.Compare(b.changed) }
	case "name":
		by = func(a, b *stored) int { return cmp.Compare(a.name, b.name) }
	}
	return func(a, b *stored) int {
		n := cmp.Or(by(a, b), cmp.Compare(a.name, b.name))
		if in.SortOrder != "asc" {
			return -n
		}
		return n
	}
}

// matches holds a filter against a secret: one of its values is enough, each is
// a prefix, and one that begins with "!" says the opposite.
func (s *stored) matches(f filter) (bool, error) {
	if len(f.Values) == 0 || len(f.Values) > 10 {
		return false, refusal("ValidationException", "Value at 'filters' failed to satisfy constraint")
	}
	var held []string
	switch f.Key {
	case "name":
		held = []string{s.name}
	case "description":
		held = []string{s.description}
	case "tag-key", "tag-value":
		for _, t := range s.tags {
			if f.Key == "tag-key" {
				held = append(held, t.Key)
			} else {
				held = append(held, t.Value)
			}
		}
	default:
		return false, refusal("InvalidParameterException", "Invalid filter key: %s", f.Key)
	}
	return slices.ContainsFunc(f.Values, func(value string) bool {
		wanted, not := strings.CutPrefix(value, "!")
		return not != slices.ContainsFunc(held, func(h string) bool { return strings.HasPrefix(h, wanted) })
	}), nil
}

func (s *stored) describe() described {
	stages := map[string][]string{}
	for _, v := range s.versions {
		if len(v.stages) > 0 {
			stages[v.id] = v.stages
		}
	}
	return described{
		ARN: s.arn, Name: s.name, Description: s.description, Tags: s.tags, VersionIDsToStages: stages,
		CreatedDate: at(s.created), LastChangedDate: at(s.changed), DeletedDate: at(s.deleted),
	}
}

func (c *Cloud) describeSecret(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	return s.describe(), nil
}

func (c *Cloud) listSecretVersionIDs(one call, in request) (any, error) {
	s, err := c.find(one, in.SecretID)
	if err != nil {
		return nil, err
	}
	out := writeAnswer{ARN: s.arn, Name: s.name}
	for _, v := range s.versions {
		if in.IncludeDeprecated || len(v.stages) > 0 {
			out.Versions = append(out.Versions, versionEntry{VersionID: v.id, VersionStages: v.stages, CreatedDate: at(v.created)})
		}
	}
	return out, nil
}

// Put stores a text without a call, for tests that set a scene: a new secret,
// with tags, or a new AWSCURRENT of one that is there. It returns the id of the
// version.
func (c *Cloud) Put(name, value string, tags map[string]string) string {
	in := request{Name: name, SecretString: &value}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, tag{Key: key, Value: tags[key]})
	}
	return c.put(in)
}

// PutBinary is Put for bytes: those that are no text become a SecretBinary.
func (c *Cloud) PutBinary(name string, value []byte) string {
	if utf8.Valid(value) {
		return c.Put(name, string(value), nil)
	}
	return c.put(request{Name: name, SecretBinary: value})
}

func (c *Cloud) put(in request) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	in.ClientRequestToken = c.random.requestID()
	var err error
	if s := c.secrets[in.Name]; s == nil {
		_, err = c.createSecret(call{}, in)
	} else {
		s.deleted = time.Time{}
		_, err = c.add(s, in)
	}
	if err != nil {
		panic(err)
	}
	return in.ClientRequestToken
}

// Delete marks a secret for deletion without a call.
func (c *Cloud) Delete(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[name].deleted = c.now()
}

// Empty takes all versions from a secret, as one that is made and not filled.
func (c *Cloud) Empty(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[name].versions = nil
}

// ARN of a secret.
func (c *Cloud) ARN(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets[name].arn
}

// Tag sets tags of a secret without a call.
func (c *Cloud) Tag(name string, tags map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.secrets[name]
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		s.tags = append(slices.DeleteFunc(s.tags, func(t tag) bool { return t.Key == key }), tag{Key: key, Value: tags[key]})
	}
}
