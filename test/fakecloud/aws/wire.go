package aws

import (
	"encoding/json"
	"time"
)

// The shapes of JSON 1.1, one for all operations: what an operation does not
// take is left empty, as the API reference of Secrets Manager has it
// (https://docs.aws.amazon.com/secretsmanager/latest/apireference).
type request struct {
	SecretID                   string   `json:"SecretId"`
	SecretIDList               []string `json:"SecretIdList"`
	Name                       string
	Description                string
	SecretString               *string
	SecretBinary               []byte
	ClientRequestToken         string
	VersionID                  string `json:"VersionId"`
	VersionStage               string
	VersionStages              []string
	RemoveFromVersionID        string `json:"RemoveFromVersionId"`
	MoveToVersionID            string `json:"MoveToVersionId"`
	Tags                       []tag
	Filters                    []filter
	MaxResults                 int
	NextToken                  string
	SortBy                     string
	SortOrder                  string
	IncludePlannedDeletion     bool
	IncludeDeprecated          bool
	RecoveryWindowInDays       int
	ForceDeleteWithoutRecovery bool
}

type tag struct{ Key, Value string }

type filter struct {
	Key    string
	Values []string
}

// seconds is a time as JSON 1.1 has it: seconds since 1970.
type seconds time.Time

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Time(s).UnixMilli()) / 1000)
}

func at(t time.Time) *seconds {
	if t.IsZero() {
		return nil
	}
	s := seconds(t)
	return &s
}

type valueEntry struct {
	ARN, Name     string
	VersionID     string   `json:"VersionId"`
	SecretString  *string  `json:",omitempty"`
	SecretBinary  []byte   `json:",omitempty"`
	VersionStages []string `json:",omitempty"`
	CreatedDate   *seconds
}

type batchError struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

type batchAnswer struct {
	SecretValues []valueEntry
	Errors       []batchError
	NextToken    string `json:",omitempty"`
}

type described struct {
	ARN, Name              string
	Description            string              `json:",omitempty"`
	CreatedDate            *seconds            `json:",omitempty"`
	LastChangedDate        *seconds            `json:",omitempty"`
	DeletedDate            *seconds            `json:",omitempty"`
	Tags                   []tag               `json:",omitempty"`
	VersionIDsToStages     map[string][]string `json:"VersionIdsToStages,omitempty"`
	SecretVersionsToStages map[string][]string `json:",omitempty"` // of ListSecrets
}

type listAnswer struct {
	SecretList []described
	NextToken  string `json:",omitempty"`
}

type versionEntry struct {
	VersionID     string `json:"VersionId"`
	VersionStages []string
	CreatedDate   *seconds
}

type writeAnswer struct {
	ARN, Name     string
	VersionID     string         `json:"VersionId,omitempty"`
	VersionStages []string       `json:",omitempty"`
	Versions      []versionEntry `json:",omitempty"`
	DeletionDate  *seconds       `json:",omitempty"`
}

func errorJSON(code, message string) []byte {
	out, _ := json.Marshal(map[string]string{"__type": code, "Message": message})
	return out
}
