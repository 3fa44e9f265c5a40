package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
)

// maxName of an identity is for people to read.
const maxName = 128

// Check implements providers.Checker: it asks Vault who we are.
func (v *vault) Check(ctx context.Context) (string, error) {
	var by *session
	a, err := v.sessions.ask(ctx, func(t *session) (answer, error) {
		by = t
		return get(ctx, t.logins, lookUp, nil)
	})
	switch {
	case err != nil:
		return "", err
	case a.status == http.StatusForbidden: // but the login was let in
		return v.identity(by.role, ""), nil
	case a.status != http.StatusOK:
		return "", a.failed()
	}
	var who struct {
		Name string `json:"display_name"`
	}
	if err := json.Unmarshal(a.Data, &who); err != nil {
		return "", unreadable()
	}
	return v.identity(by.role, who.Name), nil
}

// identity is the method's path and as what that knows us. A token that was
// there already has but a name.
func (v *vault) identity(role, name string) string {
	as := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, cmp.Or(role, name))
	path := "auth/" + cmp.Or(v.sessions.method.mount, "token")
	if as == "" {
		return path
	}
	return path + " as " + strings.ToValidUTF8(as[:min(len(as), maxName)], "")
}
