package sops

import (
	"fmt"
	"testing"
	"testing/fstest"
)

// BenchmarkOpen300 opens the SOPS files of the first-sync scenario.
func BenchmarkOpen300(b *testing.B) {
	for name, key := range map[string]testKey{"x25519": classicKey(b), "post-quantum": postQuantumKey(b)} {
		b.Run(name, func(b *testing.B) {
			base := fstest.MapFS{}
			for i := range 300 {
				name := fmt.Sprintf("secret-%03d.yaml", i)
				base[name] = &fstest.MapFile{Data: manifestFor(key).encrypt(b, name, manifest)}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				fsys := NewFS(base, key.ring, newSet())
				for name := range base {
					if _, err := fsys.ReadFile(name); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
