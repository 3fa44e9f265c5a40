package template

import (
	"regexp"
	"regexp/syntax"
)

const (
	maxExpression     = 4 << 10
	maxExpressionSize = 10_000   // what it grows to when a{1000} is written out
	maxMatching       = 16 << 20 // that size times the bytes that are searched
	maxGroups         = 4 << 20  // groups times the bytes that are searched
)

// expressions are the functions with regular expressions. Matching takes time
// in proportion to the text and to the expression, so their product is bounded.
func expressions() map[string]any {
	match := func(expression, s string) (bool, error) {
		re, err := compile(expression, s)
		return err == nil && re.MatchString(s), err
	}
	find := func(expression, s string) (string, error) {
		re, err := compile(expression, s)
		if err != nil {
			return "", err
		}
		return re.FindString(s), nil
	}
	literally := func(expression, s, by string) (string, error) { return substitute(expression, s, by, false) }
	expanded := func(expression, s, by string) (string, error) { return substitute(expression, s, by, true) }
	return map[string]any{
		"regexMatch": match, "mustRegexMatch": match,
		"regexFind": find, "mustRegexFind": find,
		"regexFindAll": findAll, "mustRegexFindAll": findAll,
		"regexSplit": splitAt, "mustRegexSplit": splitAt,
		"regexReplaceAll": expanded, "mustRegexReplaceAll": expanded,
		"regexReplaceAllLiteral": literally, "mustRegexReplaceAllLiteral": literally,
	}
}

// compile makes an expression that can be matched against s.
func compile(expression, s string) (*regexp.Regexp, error) {
	if len(expression) > maxExpression {
		return nil, refusal("its regular expression is too long")
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, refusal("its regular expression is not one")
	}
	size := expressionSize(tree)
	if size > maxExpressionSize || size*(len(s)+1) > maxMatching || tree.MaxCap()*(len(s)+1) > maxGroups {
		return nil, refusal("its regular expression is too costly for a text of this length")
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, refusal("its regular expression is not one")
	}
	return re, nil
}

// expressionSize is how large an expression is when its repetitions are written
// out, or more than maxExpressionSize.
func expressionSize(tree *syntax.Regexp) int {
	size := 1 + len(tree.Rune)
	for _, sub := range tree.Sub {
		if size += expressionSize(sub); size > maxExpressionSize {
			return size
		}
	}
	if tree.Op == syntax.OpRepeat {
		size *= max(tree.Min, tree.Max, 1)
	}
	return size
}

func findAll(expression, s string, n int) ([]string, error) {
	re, err := compile(expression, s)
	if err != nil {
		return nil, err
	}
	found := re.FindAllString(s, limited(n))
	return found, few(found)
}

func splitAt(expression, s string, n int) ([]string, error) {
	re, err := compile(expression, s)
	if err != nil {
		return nil, err
	}
	found := re.Split(s, limited(n))
	return found, few(found)
}

func limited(n int) int {
	if n < 0 || n > maxItems {
		return maxItems + 1
	}
	return n
}

func few(found []string) error {
	if len(found) > maxItems {
		return tooLarge
	}
	return nil
}

func substitute(expression, s, by string, expand bool) (string, error) {
	re, err := compile(expression, s)
	if err != nil {
		return "", err
	}
	var out []byte
	end := 0
	for _, match := range re.FindAllStringSubmatchIndex(s, -1) {
		out = append(out, s[end:match[0]]...)
		if expand {
			out = re.ExpandString(out, by, s, match)
		} else {
			out = append(out, by...)
		}
		if end = match[1]; len(out) > maxValue {
			return "", tooLarge
		}
	}
	return string(append(out, s[end:]...)), nil
}
