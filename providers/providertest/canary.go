package providertest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
)

// randomName is lower case, and stands nowhere by chance.
func randomName() string { return strings.ToLower(rand.Text()[:12]) }

// canary knows what must not be said.
type canary struct {
	mu    sync.Mutex
	texts map[string]string // what must not be said, and what it is
}

func (c *canary) content(b []byte) { c.add(string(b), "a stored value") }

func (c *canary) confidential(texts ...string) {
	for _, text := range texts {
		c.add(text, "a credential or a text of the server")
	}
}

func (c *canary) add(text, what string) {
	if len(text) < 6 {
		return // it would be found by chance
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.texts == nil {
		c.texts = map[string]string{}
	}
	quoted, _ := json.Marshal(text)
	for _, shape := range []string{
		text, base64.StdEncoding.EncodeToString([]byte(text)), base64.URLEncoding.EncodeToString([]byte(text)),
		hex.EncodeToString([]byte(text)), url.QueryEscape(text), strings.Trim(string(quoted), `"`),
	} {
		c.texts[shape] = what
	}
	if len(text) > 64 { // a cut of it says enough
		c.texts[text[:32]] = what
	}
}

// in says what a text holds, or "".
func (c *canary) in(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for shape, what := range c.texts {
		if strings.Contains(text, shape) {
			return what
		}
	}
	return ""
}
