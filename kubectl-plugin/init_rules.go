package kubectlplugin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
	"sigs.k8s.io/yaml"
)

// manifestSelector encrypts the values of Secrets, so that names, labels and
// the shape of a file stay readable in reviews.
const manifestSelector = `^(data|stringData)$`

// rulesFile is the .sops.yaml to write; none where the one there is does
// already encrypt this path to these recipients.
func (o *initOptions) rulesFile() ([]*newFile, error) {
	file := &newFile{path: filepath.Join(o.root, ".sops.yaml"), content: renderRules(o.manifest.path, o.recipients)}
	existing, err := os.ReadFile(file.path)
	if errors.Is(err, fs.ErrNotExist) || o.force && err == nil {
		return []*newFile{file}, nil
	}
	if err != nil {
		return nil, err
	}
	covered, err := rulesCover(existing, o.manifest.path, o.recipients)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.path, err)
	}
	if covered {
		o.sayf("kept %s: its rules encrypt %s to the same recipients", fromHere(file.path), o.manifest.path)
		return nil, nil
	}
	o.sayf("These rules belong into %s, before any that also match %s:\n\n%s", fromHere(file.path), o.manifest.path, file.content)
	return nil, withHint(fmt.Errorf("%s exists and does not encrypt %s to these recipients", fromHere(file.path), o.manifest.path),
		"add the rules above and run the command again, or replace the file with --force")
}

// renderRules writes a .sops.yaml by hand: comments are for its readers.
func renderRules(path string, recipients []string) []byte {
	var b bytes.Buffer
	prefix := pathPrefix(path)
	indented := strings.Join(recipients, ",\n      ")
	fmt.Fprintf(&b, `creation_rules:
  # Manifests: the values of Secrets are encrypted, their names stay readable.
  - path_regex: '%s.*\.ya?ml$'
    encrypted_regex: '%s'
    age: >-
      %s
`, prefix, manifestSelector, indented)
	fmt.Fprintf(&b, `  # Inputs of Kustomize's secretGenerator: every value is encrypted.
  - path_regex: '%s.*\.(env|json|ini|txt|pem|key|crt|p12|jks|bin)$'
    age: >-
      %s
`, prefix, indented)
	return b.Bytes()
}

// pathPrefix matches what is below path; single quotes are doubled for YAML.
func pathPrefix(path string) string {
	if path == "." {
		return "^"
	}
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(path), "'", "''") + "/"
}

// rulesCover reports whether the first rule for a manifest below path encrypts
// it to all of the recipients.
func rulesCover(raw []byte, path string, recipients []string) (bool, error) {
	var config struct {
		CreationRules []struct {
			PathRegex string `json:"path_regex"`
			Age       any    `json:"age"`
		} `json:"creation_rules"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return false, errors.New("not a valid sops configuration")
	}
	probe := strings.TrimPrefix(path+"/secret.yaml", "./")
	for i, rule := range config.CreationRules {
		expression, err := regexp.Compile(rule.PathRegex)
		if err != nil {
			return false, fmt.Errorf("creation rule %d: path_regex is not a valid regular expression", i+1)
		}
		if expression.MatchString(probe) {
			return containsAll(splitList(strings.Trim(fmt.Sprint(rule.Age), "[]")), recipients), nil
		}
	}
	return false, nil
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(r string) bool { return !slices.Contains(have, r) })
}

// checkRecipient never repeats what it was given: it may be a private key that
// somebody took for the recipient.
func checkRecipient(text string) error {
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
		return errors.New("this is a private key; give its recipient, which begins with age1")
	}
	_, err := age.ParseX25519Recipient(text)
	if strings.HasPrefix(text, "age1pq1") {
		_, err = age.ParseHybridRecipient(text)
	}
	if err != nil {
		return errors.New("not an age recipient (age1... or age1pq1...)")
	}
	return nil
}
