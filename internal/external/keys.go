package external

import (
	"fmt"
	"regexp"
	"strings"
)

const maxKeyBytes = 253

var keyPattern = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)

// invalidKey says what the API server would refuse about a key of a Secret, or
// "".
func invalidKey(key string) string {
	switch {
	case len(key) > maxKeyBytes:
		return fmt.Sprintf("is longer than %d characters", maxKeyBytes)
	case !keyPattern.MatchString(key) || key == "." || strings.HasPrefix(key, ".."):
		return fmt.Sprintf("is %q, which no Secret takes as a key", shorten(key))
	}
	return ""
}
