//go:build profile

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profile, in a build with the tag "profile", which is never shipped, writes a
// CPU profile of the process's life and its heap at the end into the directory
// GITSEAL_PROFILE.
func profile() (stop func()) {
	dir := os.Getenv("GITSEAL_PROFILE")
	if dir == "" {
		return func() {}
	}
	if err := pprof.StartCPUProfile(create(dir, "cpu")); err != nil {
		panic(err)
	}
	return func() {
		pprof.StopCPUProfile()
		runtime.GC()
		if err := pprof.WriteHeapProfile(create(dir, "heap")); err != nil {
			panic(err)
		}
	}
}

func create(dir, what string) *os.File {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", what, os.Getpid())))
	if err != nil {
		panic(err)
	}
	return f
}
