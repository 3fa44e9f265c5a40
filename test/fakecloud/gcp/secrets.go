package gcp

import (
	"context"
	"fmt"
	"hash/crc32"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What the documentation says of sizes.
const (
	maxPayload = 64 << 10
	maxPage    = 25000
)

// stored is a secret and its versions; versions[i] has the number i+1.
type stored struct {
	secret   *secretmanagerpb.Secret
	versions []*version
}

type version struct {
	meta *secretmanagerpb.SecretVersion
	data []byte
}

// name is the name of a secret or version, taken apart.
type name struct{ parent, id, version string }

var names = regexp.MustCompile(`^(projects/[a-z0-9:.-]+(?:/locations/[a-z0-9-]+)?)/secrets/([A-Za-z0-9_-]{1,255})(?:/versions/([A-Za-z0-9_-]+))?$`)

func (s *Server) parse(full string) (name, error) {
	m := names.FindStringSubmatch(full)
	if m == nil {
		return name{}, s.fail(codes.InvalidArgument, fmt.Sprintf("The resource name [%s] is invalid.", full))
	}
	return name{parent: m[1], id: m[2], version: m[3]}, nil
}

func (n name) secret() string { return n.parent + "/secrets/" + n.id }

// find returns a secret that the caller may use.
func (s *Server) find(full, permission string) (*stored, name, error) {
	n, err := s.parse(full)
	if err != nil {
		return nil, n, err
	}
	if err := s.denied(n.id, permission); err != nil {
		return nil, n, err
	}
	kept := s.secrets[n.secret()]
	if kept == nil {
		return nil, n, s.fail(codes.NotFound, fmt.Sprintf("Secret [%s] not found or has no versions.", n.secret()))
	}
	return kept, n, nil
}

// findVersion resolves a number, an alias or "latest". The latest version is the
// one with the highest number, whatever its state.
func (s *Server) findVersion(full, permission string) (*version, error) {
	kept, n, err := s.find(full, permission)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseInt(n.version, 10, 64)
	if alias, ok := kept.secret.GetVersionAliases()[n.version]; err != nil && ok {
		number = alias
	}
	if n.version == "latest" {
		number = int64(len(kept.versions))
	}
	if number < 1 || number > int64(len(kept.versions)) {
		return nil, s.fail(codes.NotFound, fmt.Sprintf("Secret Version [%s] not found.", full))
	}
	return kept.versions[number-1], nil
}

// AccessSecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) AccessSecretVersion(_ context.Context, r *secretmanagerpb.AccessSecretVersionRequest) (*secretmanagerpb.AccessSecretVersionResponse, error) {
	v, err := s.findVersion(r.GetName(), "secretmanager.versions.access")
	if err != nil {
		return nil, err
	}
	if state := v.meta.GetState(); state != secretmanagerpb.SecretVersion_ENABLED {
		return nil, s.fail(codes.FailedPrecondition, fmt.Sprintf("Secret Version [%s] is in %s state.", v.meta.GetName(), state))
	}
	crc := int64(crc32.Checksum(v.data, crc32.MakeTable(crc32.Castagnoli)))
	data := slices.Clone(v.data)
	if s.faults.corrupt && len(data) > 0 {
		data[0] ^= 1
	}
	return &secretmanagerpb.AccessSecretVersionResponse{
		Name:    v.meta.GetName(),
		Payload: &secretmanagerpb.SecretPayload{Data: data, DataCrc32C: &crc},
	}, nil
}

// GetSecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) GetSecretVersion(_ context.Context, r *secretmanagerpb.GetSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	v, err := s.findVersion(r.GetName(), "secretmanager.versions.get")
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(v.meta), nil
}

// ListSecretVersions implements secretmanagerpb.SecretManagerServiceServer:
// the newest first.
func (s *Server) ListSecretVersions(_ context.Context, r *secretmanagerpb.ListSecretVersionsRequest) (*secretmanagerpb.ListSecretVersionsResponse, error) {
	kept, _, err := s.find(r.GetParent(), "secretmanager.versions.list")
	if err != nil {
		return nil, err
	}
	terms, err := s.filter(r.GetFilter())
	if err != nil {
		return nil, err
	}
	var matching []*secretmanagerpb.SecretVersion
	for _, v := range slices.Backward(kept.versions) {
		if terms.matches(versionFields(v.meta)) {
			matching = append(matching, proto.CloneOf(v.meta))
		}
	}
	page, next, err := paginate(s, matching, r.GetPageSize(), r.GetPageToken())
	return &secretmanagerpb.ListSecretVersionsResponse{Versions: page, NextPageToken: next, TotalSize: int32(len(matching))}, err
}

// ListSecrets implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) ListSecrets(_ context.Context, r *secretmanagerpb.ListSecretsRequest) (*secretmanagerpb.ListSecretsResponse, error) {
	if err := s.denied("*", "secretmanager.secrets.list"); err != nil {
		return nil, err
	}
	terms, err := s.filter(r.GetFilter())
	if err != nil {
		return nil, err
	}
	var matching []*secretmanagerpb.Secret
	for _, full := range slices.Sorted(maps.Keys(s.secrets)) {
		secret := s.secrets[full].secret
		if strings.HasPrefix(full, r.GetParent()+"/secrets/") && terms.matches(secretFields(secret)) {
			matching = append(matching, proto.CloneOf(secret))
		}
	}
	page, next, err := paginate(s, matching, r.GetPageSize(), r.GetPageToken())
	return &secretmanagerpb.ListSecretsResponse{Secrets: page, NextPageToken: next, TotalSize: int32(len(matching))}, err
}

func paginate[T any](s *Server, all []T, size int32, token string) ([]T, string, error) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(all) {
			return nil, "", s.fail(codes.InvalidArgument, "The page token is invalid.")
		}
		from = n
	}
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	to := min(from+int(size), len(all))
	if to == len(all) {
		return all[from:], "", nil
	}
	return all[from:to], strconv.Itoa(to), nil
}

// GetSecret implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) GetSecret(_ context.Context, r *secretmanagerpb.GetSecretRequest) (*secretmanagerpb.Secret, error) {
	kept, _, err := s.find(r.GetName(), "secretmanager.secrets.get")
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(kept.secret), nil
}

// CreateSecret implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) CreateSecret(_ context.Context, r *secretmanagerpb.CreateSecretRequest) (*secretmanagerpb.Secret, error) {
	n, err := s.parse(r.GetParent() + "/secrets/" + r.GetSecretId())
	if err != nil {
		return nil, err
	}
	if s.secrets[n.secret()] != nil {
		return nil, s.fail(codes.AlreadyExists, fmt.Sprintf("Secret [%s] already exists.", n.secret()))
	}
	secret := proto.CloneOf(r.GetSecret())
	if secret == nil {
		secret = &secretmanagerpb.Secret{}
	}
	secret.Name, secret.CreateTime = n.secret(), timestamppb.New(s.clock.Now())
	s.secrets[n.secret()] = &stored{secret: secret}
	s.stamp(secret)
	return proto.CloneOf(secret), nil
}

// UpdateSecret implements secretmanagerpb.SecretManagerServiceServer for what a
// mask names of labels, annotations and version_aliases.
func (s *Server) UpdateSecret(_ context.Context, r *secretmanagerpb.UpdateSecretRequest) (*secretmanagerpb.Secret, error) {
	kept, _, err := s.find(r.GetSecret().GetName(), "secretmanager.secrets.update")
	if err != nil {
		return nil, err
	}
	for _, p := range r.GetUpdateMask().GetPaths() {
		switch p {
		case "labels":
			kept.secret.Labels = maps.Clone(r.GetSecret().GetLabels())
		case "annotations":
			kept.secret.Annotations = maps.Clone(r.GetSecret().GetAnnotations())
		case "version_aliases":
			kept.secret.VersionAliases = maps.Clone(r.GetSecret().GetVersionAliases())
		default:
			return nil, s.fail(codes.InvalidArgument, "The update mask is invalid.")
		}
	}
	s.stamp(kept.secret)
	return proto.CloneOf(kept.secret), nil
}

// DeleteSecret implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) DeleteSecret(_ context.Context, r *secretmanagerpb.DeleteSecretRequest) (*emptypb.Empty, error) {
	_, n, err := s.find(r.GetName(), "secretmanager.secrets.delete")
	if err != nil {
		return nil, err
	}
	delete(s.secrets, n.secret())
	return &emptypb.Empty{}, nil
}

func (s *Server) stamp(secret *secretmanagerpb.Secret) {
	secret.Etag = fmt.Sprintf("%q", strconv.FormatInt(s.clock.Now().UnixNano(), 16))
}

// AddSecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) AddSecretVersion(_ context.Context, r *secretmanagerpb.AddSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	kept, n, err := s.find(r.GetParent(), "secretmanager.versions.add")
	if err != nil {
		return nil, err
	}
	data := r.GetPayload().GetData()
	if len(data) == 0 || len(data) > maxPayload {
		return nil, s.fail(codes.InvalidArgument, "The payload must have between 1 and 65536 bytes.",
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "payload.data"}}})
	}
	if crc := r.GetPayload().DataCrc32C; crc != nil && *crc != int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))) {
		return nil, s.fail(codes.InvalidArgument, "The checksum does not match the data.")
	}
	v := &version{data: slices.Clone(data), meta: &secretmanagerpb.SecretVersion{
		Name:       fmt.Sprintf("%s/versions/%d", n.secret(), len(kept.versions)+1),
		CreateTime: timestamppb.New(s.clock.Now()), State: secretmanagerpb.SecretVersion_ENABLED,
		ClientSpecifiedPayloadChecksum: r.GetPayload().DataCrc32C != nil,
	}}
	kept.versions = append(kept.versions, v)
	return proto.CloneOf(v.meta), nil
}

// DisableSecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) DisableSecretVersion(_ context.Context, r *secretmanagerpb.DisableSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(r.GetName(), "secretmanager.versions.disable", secretmanagerpb.SecretVersion_DISABLED)
}

// EnableSecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) EnableSecretVersion(_ context.Context, r *secretmanagerpb.EnableSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(r.GetName(), "secretmanager.versions.enable", secretmanagerpb.SecretVersion_ENABLED)
}

// DestroySecretVersion implements secretmanagerpb.SecretManagerServiceServer.
func (s *Server) DestroySecretVersion(_ context.Context, r *secretmanagerpb.DestroySecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	return s.setState(r.GetName(), "secretmanager.versions.destroy", secretmanagerpb.SecretVersion_DESTROYED)
}

func (s *Server) setState(full, permission string, state secretmanagerpb.SecretVersion_State) (*secretmanagerpb.SecretVersion, error) {
	v, err := s.findVersion(full, permission)
	if err != nil {
		return nil, err
	}
	if v.meta.GetState() == secretmanagerpb.SecretVersion_DESTROYED {
		return nil, s.fail(codes.FailedPrecondition, fmt.Sprintf("Secret Version [%s] is in DESTROYED state.", v.meta.GetName()))
	}
	v.meta.State = state
	if state == secretmanagerpb.SecretVersion_DESTROYED {
		v.data, v.meta.DestroyTime = nil, timestamppb.New(s.clock.Now())
	}
	return proto.CloneOf(v.meta), nil
}

// terms is a filter: name:part, labels.k=v, labels.k:*, annotations.k=v and
// state:S, joined by blanks or AND. Values may be quoted.
type terms []term

type term struct {
	field, value string
	exact        bool
}

var termPattern = regexp.MustCompile(`^([A-Za-z_]+(?:\.[\p{L}\p{N}_./-]+)?)(=|:)("(?:[^"\\]|\\.)*"|[^\s"]+)(?:\s+(?:AND\s+)?|$)`)

func (s *Server) filter(text string) (terms, error) {
	var all terms
	for rest := strings.TrimSpace(text); rest != ""; {
		m := termPattern.FindStringSubmatch(rest)
		if m == nil {
			return nil, s.fail(codes.InvalidArgument, "The filter is invalid.")
		}
		value, err := strconv.Unquote(m[3])
		if err != nil {
			value = m[3]
		}
		all = append(all, term{field: m[1], exact: m[2] == "=", value: value})
		rest = rest[len(m[0]):]
	}
	return all, nil
}

func (t terms) matches(fields map[string]string) bool {
	return !slices.ContainsFunc(t, func(one term) bool {
		have, ok := fields[one.field]
		if one.exact || one.field == "state" {
			return !ok || have != one.value
		}
		return !ok || one.value != "*" && !strings.Contains(strings.ToLower(have), strings.ToLower(one.value))
	})
}

func versionFields(v *secretmanagerpb.SecretVersion) map[string]string {
	return map[string]string{"state": v.GetState().String(), "name": v.GetName()}
}

func secretFields(secret *secretmanagerpb.Secret) map[string]string {
	_, id, _ := strings.Cut(secret.GetName(), "/secrets/")
	fields := map[string]string{"name": id}
	for k, v := range secret.GetLabels() {
		fields["labels."+k] = v
	}
	for k, v := range secret.GetAnnotations() {
		fields["annotations."+k] = v
	}
	return fields
}
