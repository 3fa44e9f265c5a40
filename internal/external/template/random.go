package template

import "encoding/base64"

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// maxRandom is how many characters or bytes are made at once.
	maxRandom = 64 << 10
)

// printable are the characters of ASCII that are no control characters.
func printable() string {
	all := make([]byte, 0, '~'-' '+1)
	for c := byte(' '); c <= '~'; c++ {
		all = append(all, c)
	}
	return string(all)
}

// randoms are the functions with random results, which are derived: the same
// ones each time.
func (r *run) randoms() map[string]any {
	of := func(name, alphabet string) func(int) (string, error) {
		return func(count int) (string, error) { return r.characters(name, alphabet, count) }
	}
	return map[string]any{
		"randAlphaNum": of("randAlphaNum", letters+digits),
		"randAlpha":    of("randAlpha", letters),
		"randNumeric":  of("randNumeric", digits),
		"randAscii":    of("randAscii", printable()),
		"randBytes":    r.randBytes, "randInt": r.randInt, "uuidv4": r.uuid, "shuffle": r.shuffle,
	}
}

func (r *run) characters(function, alphabet string, count int) (string, error) {
	if count < 0 || count > maxRandom {
		return "", tooLarge
	}
	random, err := r.random(function)
	if err != nil {
		return "", err
	}
	return random.Choose(alphabet, count), nil
}

func (r *run) randBytes(count int) (string, error) {
	if count < 0 || count > maxRandom {
		return "", tooLarge
	}
	random, err := r.random("randBytes")
	if err != nil {
		return "", err
	}
	raw := make([]byte, count)
	_, err = random.Read(raw)
	return base64.StdEncoding.EncodeToString(raw), err
}

func (r *run) randInt(from, to int) (int, error) {
	if to <= from || to-from < 0 {
		return 0, refusal("its first argument has to be less than its second")
	}
	random, err := r.random("randInt")
	if err != nil {
		return 0, err
	}
	return from + random.Below(to-from), nil
}

func (r *run) uuid() (string, error) {
	random, err := r.random("uuidv4")
	if err != nil {
		return "", err
	}
	return random.UUID(), nil
}

func (r *run) shuffle(s string) (string, error) {
	random, err := r.random("shuffle")
	if err != nil {
		return "", err
	}
	runes := []rune(s)
	random.Shuffle(len(runes), func(i, j int) { runes[i], runes[j] = runes[j], runes[i] })
	return string(runes), nil
}
