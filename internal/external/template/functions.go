package template

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// taken are the functions of sprig that are used as they are: they do no I/O,
// give the same result each time, and make nothing that is much larger than
// what they are given. What sprig adds one day is not in here, and so not
// allowed.
var taken = strings.Fields(`
	abbrev abbrevboth trunc trim upper lower title untitle substr trimall trimAll trimSuffix trimPrefix
	nospace initials swapcase snakecase kebabcase contains hasPrefix hasSuffix quote squote cat plural
	sha1sum sha256sum sha512sum adler32sum toString toStrings
	atoi int64 int float64 toDecimal add1 add sub div mod mul add1f addf subf divf mulf
	biggest max min maxf minf ceil floor round sortAlpha
	default empty coalesce all any compact mustCompact ternary deepCopy mustDeepCopy
	fromJson toJson toPrettyJson toRawJson mustFromJson mustToJson mustToPrettyJson mustToRawJson
	typeOf typeIs typeIsLike kindOf kindIs deepEqual
	base dir clean ext isAbs osBase osClean osDir osExt osIsAbs
	b64enc b32enc tuple list dict get set unset hasKey pluck pick omit
	merge mergeOverwrite mustMerge mustMergeOverwrite
	append push mustAppend mustPush prepend mustPrepend first mustFirst rest mustRest last mustLast
	initial mustInitial reverse mustReverse uniq mustUniq without mustWithout has mustHas slice mustSlice
	concat dig chunk mustChunk semver semverCompare regexQuoteMeta urlParse urlJoin
	duration unixEpoch dateModify date_modify mustDateModify must_date_modify hello
	buildCustomCert decryptAES`)

// keyMakers are the functions of sprig whose results differ each time, by their
// nature: they are allowed where a Secret is made once.
var keyMakers = strings.Fields(`
	genPrivateKey genCA genCAWithKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey`)

// builtin are those of text/template that need no bounds. call is not among
// them, as there is nothing to call, and slice is sprig's.
var builtin = strings.Fields(`and or not eq ne lt le gt ge index len break continue`)

// sprigs are the functions of sprig that are allowed.
var sprigs = sync.OnceValue(func() map[string]any {
	functions := map[string]any{}
	all := sprig.GenericFuncMap()
	for _, name := range slices.Concat(taken, keyMakers) {
		functions[name] = all[name]
	}
	return functions
})

// names are those of all functions.
var names = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{}
	for name := range sprigs() {
		known[name] = true
	}
	for name := range (&run{}).own() {
		known[name] = true
	}
	for _, name := range builtin {
		known[name] = true
	}
	return known
})

func allowed(name string) bool { return names()[name] }

func makesKeys(name string) bool { return slices.Contains(keyMakers, name) }

// function returns the one of a name, or nil if text/template has it.
func (r *run) function(name string) any {
	if r.bound == nil {
		r.bound = r.own()
	}
	if f, ok := r.bound[name]; ok {
		return f
	}
	return sprigs()[name]
}

// own returns the functions that are not taken from sprig as they are.
func (r *run) own() map[string]any {
	functions := map[string]any{
		"print":    fmt.Sprint,
		"println":  fmt.Sprintln,
		"printf":   printf,
		"html":     template.HTMLEscaper,
		"js":       template.JSEscaper,
		"urlquery": template.URLQueryEscaper,
		"fail":     func(string) (string, error) { return "", refusal("") },
	}
	for _, more := range []map[string]any{
		texts(), expressions(), r.dates(), r.randoms(), r.ciphers(), certificates(), r.stores(), documents(),
	} {
		for name, f := range more {
			functions[name] = f
		}
	}
	return functions
}
