package kubectlplugin

import (
	"net/url"
	"strings"
	"testing"
)

func TestNormaliseURL(t *testing.T) {
	for name, tc := range map[string]struct {
		text, want string
		stripped   bool
		fails      bool
	}{
		"https stays as it is":            {text: "https://example.com/a/b.git", want: "https://example.com/a/b.git"},
		"a token is taken out":            {text: "https://x:t0ken@example.com/b.git", want: "https://example.com/b.git", stripped: true},
		"a user name of https too":        {text: "https://t0ken@example.com/b.git", want: "https://example.com/b.git", stripped: true},
		"ssh keeps its user":              {text: "ssh://git@example.com:2222/b.git", want: "ssh://git@example.com:2222/b.git"},
		"ssh loses its password":          {text: "ssh://git:pw@example.com/b.git", want: "ssh://git@example.com/b.git", stripped: true},
		"scp form":                        {text: "git@example.com:a/b.git", want: "ssh://git@example.com/a/b.git"},
		"scp form with an absolute path":  {text: "git@example.com:/srv/b.git", want: "ssh://git@example.com/srv/b.git"},
		"scp form without a user":         {text: "example.com:a/b.git", want: "ssh://git@example.com/a/b.git"},
		"a path on this machine":          {text: "/srv/git/b.git", fails: true},
		"a relative path":                 {text: "../b.git", fails: true},
		"file":                            {text: "file:///srv/b.git", fails: true},
		"git's own protocol":              {text: "git://example.com/b.git", fails: true},
		"a host without a repository":     {text: "https://example.com/", fails: true},
		"something that is not a URL":     {text: "https://exa mple.com/b", fails: true},
		"an ext helper that runs a shell": {text: "ext::sh -c id", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, stripped, err := normaliseURL(tc.text)
			if (err != nil) != tc.fails {
				t.Fatalf("normaliseURL(%q) error = %v, want an error: %v", tc.text, err, tc.fails)
			}
			if got != tc.want || stripped != tc.stripped {
				t.Errorf("normaliseURL(%q) = %q, %v, want %q, %v", tc.text, got, stripped, tc.want, tc.stripped)
			}
		})
	}
}

func FuzzNormaliseURL(f *testing.F) {
	for _, seed := range []string{"https://u:p@h/r", "git@h:r", "ssh://u:p@h:22/r", "h:r", "ext::sh", "https://[::1]/r", "a@b:c@d:e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, _, err := normaliseURL(text)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Skip() // scp form takes paths that a URL does not; the CRD judges them
		}
		if _, has := u.User.Password(); has {
			t.Errorf("normaliseURL(%q) = %q keeps a password", text, got)
		}
		if u.Scheme != "ssh" && u.Scheme != "https" && u.Scheme != "http" {
			t.Errorf("normaliseURL(%q) = %q, want ssh or http(s)", text, got)
		}
	})
}

func TestRulesCover(t *testing.T) {
	for name, tc := range map[string]struct {
		rules      string
		path       string
		recipients []string
		want       bool
		fails      bool
	}{
		"what init writes":                       {rules: string(renderRules("envs/prod", []string{"age1a", "age1b"})), path: "envs/prod", recipients: []string{"age1a", "age1b"}, want: true},
		"what init writes for the root":          {rules: string(renderRules(".", []string{"age1a"})), path: ".", recipients: []string{"age1a"}, want: true},
		"what init writes for a quoted path":     {rules: string(renderRules("it's/a.b", []string{"age1a"})), path: "it's/a.b", recipients: []string{"age1a"}, want: true},
		"another path":                           {rules: string(renderRules("envs/dev", []string{"age1a"})), path: "envs/prod", recipients: []string{"age1a"}},
		"a dot in a path is only a dot":          {rules: string(renderRules("a.b", []string{"age1a"})), path: "axb", recipients: []string{"age1a"}},
		"another recipient":                      {rules: string(renderRules("envs", []string{"age1a"})), path: "envs", recipients: []string{"age1b"}},
		"a list of recipients":                   {rules: "creation_rules: [{age: [age1a, age1b]}]", path: "envs", recipients: []string{"age1b"}, want: true},
		"an earlier rule is the one that counts": {rules: "creation_rules: [{age: age1x}, {age: age1a}]", path: "envs", recipients: []string{"age1a"}},
		"no rules":                               {rules: "{}", path: "envs", recipients: []string{"age1a"}},
		"a broken regular expression":            {rules: "creation_rules: [{path_regex: '('}]", path: "envs", fails: true},
		"not YAML":                               {rules: "\t{", path: "envs", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rulesCover([]byte(tc.rules), tc.path, tc.recipients)
			if (err != nil) != tc.fails {
				t.Fatalf("rulesCover(%q) error = %v, want an error: %v", tc.rules, err, tc.fails)
			}
			if got != tc.want {
				t.Errorf("rulesCover(%q, %q, %q) = %v, want %v", tc.rules, tc.path, tc.recipients, got, tc.want)
			}
		})
	}
}

func TestCheckRecipient(t *testing.T) {
	_, classic, err := generateIdentity(false)
	if err != nil {
		t.Fatal(err)
	}
	_, hybrid, err := generateIdentity(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		text  string
		fails bool
	}{
		"X25519":         {classic, false},
		"post-quantum":   {hybrid, false},
		"a private key":  {"AGE-SECRET-KEY-1QQQ", true},
		"an SSH key":     {"ssh-ed25519 AAAA", true},
		"a typing error": {classic[:len(classic)-1] + "!", true},
		"nothing":        {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkRecipient(tc.text)
			if (err != nil) != tc.fails {
				t.Fatalf("checkRecipient(%q) = %v, want an error: %v", tc.text, err, tc.fails)
			}
			if err != nil && tc.text != "" && strings.Contains(err.Error(), tc.text) {
				t.Errorf("checkRecipient(%q) = %v, which repeats its input", tc.text, err)
			}
		})
	}
}
