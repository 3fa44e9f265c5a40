package external

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Due returns when the first value has to be read again or generated anew;
// false: never.
func (u Uses) Due() (time.Time, bool) {
	var due time.Time
	consider := func(at time.Time) {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	for _, v := range u.Values {
		if v.MaxAge >= 0 {
			consider(v.Read.Add(v.MaxAge))
		}
	}
	for _, f := range u.Finds {
		if f.MaxAge >= 0 {
			consider(f.Read.Add(f.MaxAge))
		}
	}
	for _, at := range u.Epochs {
		consider(at)
	}
	return due, !due.IsZero()
}

// Fingerprint changes exactly when another value or version is in use, or
// another epoch. It is made of tokens, so that it confirms no guess.
func (u Uses) Fingerprint() string {
	sum := sha256.New()
	for _, v := range u.Values {
		_, _ = fmt.Fprintf(sum, "v%q%q%q%t%q%q%q%q\n", v.Namespace, v.Store.Kind, v.Store.Name, v.Ref.Metadata, v.Ref.Key, v.Ref.Version, v.Version, v.Token)
	}
	for _, f := range u.Finds {
		_, _ = fmt.Fprintf(sum, "f%q%q%q%q\n", f.Namespace, f.Store.Kind, f.Store.Name, f.Keys)
	}
	for _, at := range u.Epochs {
		_, _ = fmt.Fprintf(sum, "e%d\n", at.Unix())
	}
	return hex.EncodeToString(sum.Sum(nil))
}
