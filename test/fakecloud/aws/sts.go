package aws

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

func parseForm(body []byte) (url.Values, error) { return url.ParseQuery(string(body)) }

func errorXML(code, message, id string) []byte {
	type failed struct {
		Type, Code, Message string
	}
	out, _ := xml.Marshal(struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		XMLNS     string   `xml:"xmlns,attr"`
		Error     failed
		RequestID string `xml:"RequestId"`
	}{XMLNS: stsNamespace, Error: failed{Type: "Sender", Code: code, Message: message}, RequestID: id})
	return out
}

// sts answers the Query protocol of STS, version 2011-06-15.
func (c *Cloud) sts(one call) ([]byte, error) {
	form, err := parseForm(one.body)
	if err != nil {
		return nil, refusal("MalformedInput", "The request is malformed.")
	}
	if !c.faults.may(one.operation, "") {
		return nil, denied(one, "*")
	}
	switch one.operation {
	case "GetCallerIdentity":
		return callerIdentity(one.caller)
	case "AssumeRole":
		return c.assumeRole(one, form)
	case "AssumeRoleWithWebIdentity":
		return c.assumeRoleWithWebIdentity(one, form)
	}
	return nil, refusal("InvalidAction", "Could not find operation %s for version 2011-06-15", one.operation)
}

func denied(one call, resource string) *failure {
	who := "anonymous"
	if one.caller != nil {
		who = one.caller.arn
	}
	message := fmt.Sprintf("User: %s is not authorized to perform: %s:%s on resource: %s", who, one.service, one.operation, resource)
	if one.service == "sts" {
		f := refusal("AccessDenied", "%s", message)
		f.status = http.StatusForbidden
		return f
	}
	return refusal("AccessDeniedException", "%s", message)
}

func callerIdentity(who *credential) ([]byte, error) {
	type identity struct {
		Arn, Account string
		UserID       string `xml:"UserId"`
	}
	return xml.Marshal(struct {
		XMLName xml.Name `xml:"GetCallerIdentityResponse"`
		XMLNS   string   `xml:"xmlns,attr"`
		Result  identity `xml:"GetCallerIdentityResult"`
	}{XMLNS: stsNamespace, Result: identity{Arn: who.arn, UserID: who.ID, Account: Account}})
}

func (c *Cloud) assumeRole(one call, form url.Values) ([]byte, error) {
	arn := form.Get("RoleArn")
	role, ok := c.roles[arn]
	if !ok || !slices.Contains(role.Trusts, one.caller.trusted) || role.ExternalID != "" && role.ExternalID != form.Get("ExternalId") {
		return nil, denied(one, arn)
	}
	tags, kept, err := sessionTags(form, one.caller.tags)
	if err != nil {
		return nil, err
	}
	for key, value := range role.Tags {
		if tags[key] != value {
			return nil, denied(one, arn)
		}
	}
	return c.openSession(one, role, form, tags, kept)
}

// sessionTags are those of the request and those that the caller's session
// passes on, which cannot be overwritten; kept are those that this one passes on.
func sessionTags(form url.Values, inherited map[string]string) (tags, kept map[string]string, err error) {
	tags, kept = map[string]string{}, map[string]string{}
	for key, value := range inherited {
		tags[key], kept[key] = value, value
	}
	for i := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		key := form.Get(fmt.Sprintf("Tags.member.%d.Key", i))
		if _, ok := inherited[key]; ok || i > 50 {
			return nil, nil, refusal("InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		tags[key] = form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	for i := 1; form.Has(fmt.Sprintf("TransitiveTagKeys.member.%d", i)); i++ {
		key := form.Get(fmt.Sprintf("TransitiveTagKeys.member.%d", i))
		value, ok := tags[key]
		if !ok {
			return nil, nil, refusal("InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
		kept[key] = value
	}
	return tags, kept, nil
}

type claims struct {
	jwt.Claims
}

func (c *Cloud) assumeRoleWithWebIdentity(one call, form url.Values) ([]byte, error) {
	role, ok := c.roles[form.Get("RoleArn")]
	if !ok || role.Issuer == "" {
		return nil, denied(one, form.Get("RoleArn"))
	}
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	token, err := jwt.ParseSigned(form.Get("WebIdentityToken"), algorithms)
	if err != nil {
		return nil, refusal("InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
	}
	keys := c.issuers[role.Issuer].keys
	var said claims
	if err := token.Claims(&keys, &said); err != nil {
		return nil, refusal("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider.")
	}
	if said.Expiry == nil || !c.now().Before(said.Expiry.Time()) {
		return nil, refusal("ExpiredTokenException", "Token expired")
	}
	switch {
	case said.Issuer != role.Issuer:
		return nil, refusal("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", said.Issuer)
	case !said.Audience.Contains(role.Audience):
		return nil, refusal("InvalidIdentityToken", "Incorrect token audience")
	case said.Subject != role.Subject:
		return nil, denied(one, RoleARN(role.Name))
	}
	return c.openSession(one, role, form, nil, nil)
}

// openSession gives out temporary keys of a role.
func (c *Cloud) openSession(one call, role Role, form url.Values, tags, kept map[string]string) ([]byte, error) {
	name := form.Get("RoleSessionName")
	if name == "" {
		return nil, refusal("ValidationError", "1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null")
	}
	session := &credential{
		AccessKey: AccessKey{ID: "ASIA" + c.random.upper(16), Secret: c.random.mixed(40), Token: c.random.mixed(200)},
		arn:       "arn:aws:sts::" + Account + ":assumed-role/" + role.Name + "/" + name,
		trusted:   RoleARN(role.Name), expires: c.now().Add(c.lifetime), tags: kept,
	}
	c.keys[session.ID] = session
	c.sessions = append(c.sessions, Session{Role: role.Name, ExternalID: form.Get("ExternalId"), Name: name, Tags: tags, Key: session.ID})
	return sessionXML(one.operation, session)
}

func sessionXML(operation string, s *credential) ([]byte, error) {
	type keys struct {
		AccessKeyID                               string `xml:"AccessKeyId"`
		SecretAccessKey, SessionToken, Expiration string
	}
	type user struct {
		Arn           string
		AssumedRoleID string `xml:"AssumedRoleId"`
	}
	inner, err := xml.Marshal(struct {
		XMLName         xml.Name
		Credentials     keys
		AssumedRoleUser user
	}{
		XMLName:         xml.Name{Local: operation + "Result"},
		Credentials:     keys{AccessKeyID: s.ID, SecretAccessKey: s.Secret, SessionToken: s.Token, Expiration: s.expires.UTC().Format(time.RFC3339)},
		AssumedRoleUser: user{Arn: s.arn, AssumedRoleID: "AROAEXAMPLE:" + s.arn[strings.LastIndex(s.arn, "/")+1:]},
	})
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `<%[1]sResponse xmlns="%[2]s">%[3]s</%[1]sResponse>`, operation, stsNamespace, inner), nil
}
