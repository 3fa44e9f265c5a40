// Command report turns the results of the benchmarks into a page with tables
// and plots. The same results give the same page, to the byte.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gitseal/gitseal/test/bench/result"
)

func main() {
	dir := flag.String("dir", "docs/bench", "directory with the results; the page goes there, too")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	results, err := result.Read(dir)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("%s holds no results: run `make bench` first", dir)
	}
	// What is to be known of this run in particular, where there is something.
	note, err := os.ReadFile(filepath.Join(dir, "NOTE.txt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	order(results)
	files := map[string]string{"README.md": page(results, string(note))}
	for _, c := range charts(results) {
		files[c.file] = c.svg()
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
