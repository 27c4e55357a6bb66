package node

import "runtime/debug"

// version is set by who builds a release without its repository:
// go build -ldflags "-X sluice.dev/sluice/internal/node.version=v1.2.3".
var version string

// Version is the program's version as it was built: the one it was given, of the module, or of
// the commit.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) > 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
