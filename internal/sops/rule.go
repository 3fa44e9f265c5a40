package sops

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/getsops/sops/v3/config"
	"go.yaml.in/yaml/v3"
)

const configName = ".sops.yaml"

// rule is the creation rule of a .sops.yaml that a file is encrypted by.
type rule struct {
	file   string
	number int    // from 1
	path   string // its path_regex
	config *config.Config
	stores *config.StoresConfig
}

// String names the rule in errors.
func (r *rule) String() string {
	if r.path == "" {
		return fmt.Sprintf("creation rule %d of %s", r.number, r.file)
	}
	return fmt.Sprintf("creation rule %d (path_regex %q) of %s", r.number, r.path, r.file)
}

// FindConfig searches for .sops.yaml in a directory and those above it.
func FindConfig(dir string) (path string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", configName, err)
	}
	result, err := config.LookupConfigFile(filepath.Join(dir, configName))
	switch {
	case err == nil:
		return result.Path, nil
	case result.Warning != "":
		return "", fmt.Errorf("no %s in %s or above, only .sops.yml, which sops ignores: rename it", configName, dir)
	}
	return "", fmt.Errorf("no %s in %s or above: write one with kubectl gitseal init", configName, dir)
}

// loadRule finds the rule for a file. Only the library decides what the rule
// means; what is read here beside it is what errors need to name, since the
// library's own text quotes recipients, among which people have put keys.
func loadRule(configPath, filePath string) (*rule, error) {
	r, err := matchRule(configPath, filePath)
	if err != nil {
		return nil, err
	}
	r.config, err = config.LoadCreationRuleForFile(configPath, filePath, nil)
	if err != nil || r.config == nil {
		return nil, fmt.Errorf("%s is not valid: its recipients or its selectors are malformed", r)
	}
	if err := r.checkSelector(); err != nil {
		return nil, err
	}
	if err := checkRecipients(r, r.config.KeyGroups); err != nil {
		return nil, err
	}
	r.stores, err = config.LoadStoresConfig(configPath)
	if err != nil {
		return nil, fmt.Errorf("%s: the stores section is not valid", configPath)
	}
	return r, nil
}

func matchRule(configPath, filePath string) (*rule, error) {
	raw, err := os.ReadFile(configPath)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", configName, err)
	}
	var content struct {
		Rules []struct {
			PathRegex string `yaml:"path_regex"`
			Age       any    `yaml:"age"`
		} `yaml:"creation_rules"`
	}
	if err := yaml.Unmarshal(raw, &content); err != nil {
		return nil, fmt.Errorf("%s is not a valid sops configuration", at(configPath, errorLine(err)))
	}
	dir, err := filepath.Abs(filepath.Dir(configPath))
	if err != nil {
		return nil, fmt.Errorf("find %q: %w", configPath, err)
	}
	relative := strings.TrimPrefix(filePath, dir+string(filepath.Separator))
	for i, c := range content.Rules {
		r := &rule{file: configPath, number: i + 1, path: c.PathRegex}
		expression, err := regexp.Compile(c.PathRegex)
		if err != nil {
			return nil, fmt.Errorf("%s: the path_regex is not a valid regular expression", r)
		}
		if expression.MatchString(relative) {
			return r, checkAge(r, stringsOf(c.Age))
		}
	}
	return nil, fmt.Errorf("no creation rule of %s fits %s", configPath, relative)
}

func checkAge(r *rule, recipients []string) error {
	for i, recipient := range recipients {
		recipient = strings.TrimSpace(recipient)
		switch {
		case recipient == "":
		case strings.HasPrefix(recipient, "AGE-SECRET-KEY-"):
			return fmt.Errorf("%s: age recipient %d is a private key, and now known to whoever reads the file; make a new one, and put its public recipient there", r, i+1)
		default:
			if _, err := parseRecipient(recipient); err != nil {
				return fmt.Errorf("%s: age recipient %d is not a valid age1... or age1pq1... recipient", r, i+1)
			}
		}
	}
	return nil
}

// selectorName is the one selector that the rule uses, or empty.
func (r *rule) selectorName() string {
	name, _ := r.selectorOf()
	return name
}

func (r *rule) selectorOf() (name, value string) {
	c := r.config
	for _, s := range [...]struct{ name, value string }{
		{"encrypted_regex", c.EncryptedRegex},
		{"unencrypted_regex", c.UnencryptedRegex},
		{"encrypted_suffix", c.EncryptedSuffix},
		{"unencrypted_suffix", c.UnencryptedSuffix},
		{"encrypted_comment_regex", c.EncryptedCommentRegex},
		{"unencrypted_comment_regex", c.UnencryptedCommentRegex},
	} {
		if s.value != "" {
			return s.name, s.value
		}
	}
	return "", ""
}

// checkSelector exists because the library takes a malformed regular
// expression for one that matches nothing.
func (r *rule) checkSelector() error {
	name, value := r.selectorOf()
	if !strings.HasSuffix(name, "regex") {
		return nil
	}
	if _, err := regexp.Compile(value); err != nil {
		return fmt.Errorf("%s: the %s is not a valid regular expression", r, name)
	}
	return nil
}

// selector explains why nothing was selected.
func (r *rule) selector() string {
	name, value := r.selectorOf()
	switch name {
	case "":
		return "the file holds no value"
	case "encrypted_regex", "encrypted_suffix":
		return fmt.Sprintf("no key with a value matches %s %q", name, value)
	case "encrypted_comment_regex":
		return fmt.Sprintf("no comment matches %s %q", name, value)
	default:
		return fmt.Sprintf("%s %q excludes every value", name, value)
	}
}
