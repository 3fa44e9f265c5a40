package sops

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/getsops/sops/v3/cmd/sops/formats"

	"github.com/gitseal/gitseal/internal/secret"
)

const metadataKey = "sops"

var (
	yamlMetadata   = regexp.MustCompile(`(?m)^(?:sops|"sops"|'sops')[ \t]*:`)
	flowMetadata   = regexp.MustCompile(`["']?\bsops["']?[ \t\r\n]*:`)
	dotenvMetadata = regexp.MustCompile(`(?m)^sops_`)
	iniMetadata    = regexp.MustCompile(`(?m)^[ \t]*\[sops\]`)
)

// IsEncrypted reports whether a file, whose name tells its format, carries
// SOPS metadata. It does not tell whether the file is intact.
func IsEncrypted(name string, raw []byte) bool {
	if !bytes.Contains(raw, []byte(metadataKey)) {
		return false
	}
	// A chart's values may have a key named sops; metadata has one of these.
	if !bytes.Contains(raw, []byte("lastmodified")) && !bytes.Contains(raw, []byte(secret.CiphertextStart)) {
		return false
	}
	switch formats.FormatForPath(name) {
	case formats.Yaml:
		return yamlMetadata.Match(raw) || isFlow(raw) && flowMetadata.Match(raw)
	case formats.Dotenv:
		return dotenvMetadata.Match(raw)
	case formats.Ini:
		return iniMetadata.Match(raw)
	default:
		return isFlow(raw) && jsonMetadata(raw)
	}
}

func isFlow(raw []byte) bool {
	text := bytes.TrimLeft(raw, " \t\r\n\ufeff")
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte("---")), " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

func jsonMetadata(raw []byte) bool {
	if len(raw) > maxFileSize {
		return flowMetadata.Match(raw)
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		return flowMetadata.Match(raw) // truncated, perhaps: opening tells
	}
	_, found := top[metadataKey]
	return found
}

// findCiphertext returns the offset of the first ciphertext that stands where
// a value stands, or -1. Comments and running text that mention ciphertext are
// not values.
func findCiphertext(format formats.Format, text string) int {
	if format == formats.Binary && !isFlow([]byte(text)) && !strings.HasPrefix(strings.TrimSpace(text), secret.CiphertextStart) {
		return -1
	}
	for from := 0; ; {
		i := strings.Index(text[from:], secret.CiphertextStart)
		if i < 0 {
			return -1
		}
		i += from
		if isValuePosition(text[strings.LastIndexByte(text[:i], '\n')+1 : i]) {
			return i
		}
		from = i + len(secret.CiphertextStart)
	}
}

// isValuePosition reports whether what stands before on the line lets a value
// begin.
func isValuePosition(before string) bool {
	before = strings.TrimSpace(before)
	if strings.HasPrefix(before, "#") || strings.HasPrefix(before, ";") {
		return false
	}
	before = strings.TrimRight(before, `"' `+"\t")
	return before == "" || strings.ContainsRune(":=-[,{>|?", rune(before[len(before)-1]))
}

// lineOf returns the line, from 1, of an offset; 0 for a negative offset.
func lineOf(raw []byte, offset int) int {
	if offset < 0 {
		return 0
	}
	return 1 + bytes.Count(raw[:min(offset, len(raw))], []byte("\n"))
}

func lineOfText(raw []byte, text string) int { return lineOf(raw, bytes.Index(raw, []byte(text))) }

// lineOfKey returns the line of a key that stands once in the file, else 0.
func lineOfKey(raw []byte, additionalData string) int {
	path := strings.Split(strings.TrimSuffix(additionalData, ":"), ":")
	key := regexp.MustCompile(`(?m)^[ \t]*(?:- +)?["']?` + regexp.QuoteMeta(path[len(path)-1]) + `["']?[ \t]*[:=]`)
	found := key.FindAllIndex(raw, 2)
	if len(found) != 1 {
		return 0
	}
	return lineOf(raw, found[0][0])
}
