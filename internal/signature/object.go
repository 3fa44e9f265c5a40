package signature

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// signed is an object, taken apart.
type signed struct {
	payload   []byte
	signature []byte
	at        time.Time // as committer or tagger say
}

type field struct {
	name string
	text []byte // the lines as they are, name and line break included
}

var errMalformed = errors.New("is not written as Git writes it")

// fields splits the head of an object. rest begins with the empty line.
func fields(raw []byte) (list []field, rest []byte, err error) {
	if len(raw) > maxObject {
		return nil, nil, errors.New("is too large")
	}
	end := bytes.Index(raw, []byte("\n\n"))
	if end < 0 || bytes.IndexByte(raw, 0) >= 0 {
		return nil, nil, errMalformed
	}
	head, rest := raw[:end+1], raw[end+1:]
	begin, at := 0, 0 // of the field, of the line
	for line := range bytes.Lines(head) {
		name, _, ok := bytes.Cut(line, []byte(" "))
		switch {
		case !ok || len(name) == 0 && len(list) == 0:
			return nil, nil, errMalformed
		case len(name) > 0:
			begin = at
			list = append(list, field{name: string(name)})
		}
		at += len(line)
		list[len(list)-1].text = head[begin:at]
	}
	return list, rest, nil
}

// value is what follows a field's name, without the marks of further lines.
func (f field) value() []byte {
	return bytes.ReplaceAll(f.text[len(f.name)+1:], []byte("\n "), []byte("\n"))
}

// time reads the time at the end of a field like committer.
func (f field) time() (time.Time, error) {
	parts := strings.Fields(string(f.text))
	if len(parts) < 4 {
		return time.Time{}, errMalformed
	}
	seconds, err := strconv.ParseInt(parts[len(parts)-2], 10, 64)
	if err != nil {
		return time.Time{}, errMalformed
	}
	return time.Unix(seconds, 0), nil
}

// splitCommit takes the signature out of a commit, as Git does before it asks
// whether the rest is what was signed.
func splitCommit(raw []byte) (o signed, err error) {
	list, rest, err := fields(raw)
	if err != nil {
		return signed{}, err
	}
	if len(list) == 0 || list[0].name != "tree" {
		return signed{}, errMalformed
	}
	count := map[string]int{}
	for _, f := range list {
		count[f.name]++
		switch f.name {
		case "gpgsig":
			o.signature = f.value()
			continue
		case "committer":
			if o.at, err = f.time(); err != nil {
				return signed{}, err
			}
		}
		if strings.HasPrefix(f.name, "gpgsig") {
			return signed{}, fmt.Errorf("has a signature in a field %q, which is not supported", printable(f.name))
		}
		o.payload = append(o.payload, f.text...)
	}
	if count["gpgsig"] > 1 {
		return signed{}, errors.New("has more than one signature")
	}
	if count["tree"] != 1 || count["author"] != 1 || count["committer"] != 1 {
		return signed{}, errMalformed
	}
	o.payload = append(o.payload, rest...)
	return o, nil
}

// splitTag takes the signature off the end of a tag, after checking that the
// tag stands for what it is used for.
func splitTag(raw []byte, name, commit string) (o signed, err error) {
	list, rest, err := fields(raw)
	if err != nil {
		return signed{}, err
	}
	order := []string{"object", "type", "tag", "tagger"}
	if len(list) != len(order) {
		return signed{}, errMalformed
	}
	for i, f := range list {
		if f.name != order[i] {
			return signed{}, errMalformed
		}
	}
	value := func(i int) string { return strings.TrimSuffix(string(list[i].value()), "\n") }
	switch {
	case value(1) != "commit":
		return signed{}, errors.New("is not the tag of a commit")
	case value(0) != commit:
		return signed{}, errors.New("is the tag of another commit")
	case value(2) != name:
		return signed{}, fmt.Errorf("was made as tag %q", printable(value(2)))
	}
	if o.at, err = list[3].time(); err != nil {
		return signed{}, err
	}
	begin := signatureAtEnd(rest)
	if begin < 0 {
		return signed{}, errUnsigned
	}
	head := len(raw) - len(rest)
	o.payload, o.signature = raw[:head+begin], rest[begin:]
	return o, nil
}

// signatureAtEnd finds where the last line stands that begins a signature.
func signatureAtEnd(text []byte) int {
	at, found := 0, -1
	for line := range bytes.Lines(text) {
		for _, begin := range []string{pgpBegin, sshBegin, "-----BEGIN PGP MESSAGE-----", "-----BEGIN SIGNED MESSAGE-----"} {
			if bytes.HasPrefix(line, []byte(begin)) {
				found = at
			}
		}
		at += len(line)
	}
	return found
}
