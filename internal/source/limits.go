package source

import "time"

// cacheBytes bounds the inflated delta bases kept for the whole Store.
const cacheBytes = 32 << 20

// maxSessions is how many servers are talked to at once, maxDownloads how many
// of them send objects, which takes memory.
const (
	maxSessions  = 64
	maxDownloads = 8
)

// treeCacheBytes bounds the directories kept for the whole Store, and
// maxCommits the commits of one repository.
const (
	treeCacheBytes = 16 << 20
	maxCommits     = 256
)

// maxSymlinks is how many symbolic links one path may lead through.
const maxSymlinks = 16

// Limits bound what one repository may cost.
type Limits struct {
	FileBytes   int64         // one file
	Files       int           // files in the directories listed in one Snapshot
	Entries     int           // entries of one directory
	Depth       int           // directories above a file
	TotalBytes  int64         // all files read in one Snapshot
	FetchBytes  int64         // one download
	StoreBytes  int64         // downloads kept before a store is begun anew
	Fetches     int           // downloads kept before a store is begun anew
	Objects     int           // objects in one download
	ObjectBytes int64         // one object of a delta chain, held in memory
	DeltaBytes  int64         // all objects held in memory to index one download
	RefBytes    int64         // the server's list of branches and tags
	Time        time.Duration // one Fetch, whatever the context allows
	Stall       time.Duration // a server that sends nothing
}

// DefaultLimits returns the limits of a Store whose Options name none.
func DefaultLimits() Limits {
	return Limits{
		FileBytes:   4 << 20,
		Files:       20_000,
		Entries:     20_000,
		Depth:       64,
		TotalBytes:  32 << 20,
		FetchBytes:  512 << 20,
		StoreBytes:  1 << 30,
		Fetches:     50,
		Objects:     1_000_000,
		ObjectBytes: 16 << 20,
		DeltaBytes:  96 << 20,
		RefBytes:    32 << 20,
		Time:        2 * time.Minute,
		Stall:       30 * time.Second,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	orDefault(&l.FileBytes, d.FileBytes)
	orDefault(&l.Files, d.Files)
	orDefault(&l.Entries, d.Entries)
	orDefault(&l.Depth, d.Depth)
	orDefault(&l.TotalBytes, d.TotalBytes)
	orDefault(&l.FetchBytes, d.FetchBytes)
	orDefault(&l.StoreBytes, d.StoreBytes)
	orDefault(&l.Fetches, d.Fetches)
	orDefault(&l.Objects, d.Objects)
	orDefault(&l.ObjectBytes, d.ObjectBytes)
	orDefault(&l.DeltaBytes, d.DeltaBytes)
	orDefault(&l.RefBytes, d.RefBytes)
	orDefault(&l.Time, d.Time)
	orDefault(&l.Stall, d.Stall)
	return l
}

func orDefault[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
