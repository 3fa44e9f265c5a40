// Package pluginpb is the protocol of provider plugins, generated from
// plugin.proto, and its bounds. It must hold nothing else: client and server are
// the packages beside it.
package pluginpb

// Bounds of what crosses, for both sides.
const (
	MaxMessage    = 24 << 20
	MaxValue      = 1 << 20
	MaxBatch      = 20
	MaxKeys       = 10_000
	MaxKey        = 2048
	MaxWord       = 256 // of a handle and a version
	MaxRetryAfter = 3600_000
)
