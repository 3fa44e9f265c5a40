package external

import "fmt"

const (
	maxPropertyBytes = 1024
	// maxSelectors bounds what a GJSON path makes of a value: each @modifier and
	// each [..] or {..} may multiply it.
	maxSelectors = 8
)

// tooComplicated says why a property is not looked up, or "".
func tooComplicated(property string) string {
	if len(property) > maxPropertyBytes {
		return fmt.Sprintf("is longer than %d bytes", maxPropertyBytes)
	}
	selectors := 0
	for _, c := range property {
		switch c {
		case '@', '[', '{', '|', ',':
			selectors++
		}
	}
	if selectors > maxSelectors {
		return fmt.Sprintf("has more than %d selectors (@ [ { | ,)", maxSelectors)
	}
	return ""
}
