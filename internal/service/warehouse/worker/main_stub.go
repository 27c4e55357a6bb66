//go:build !cgo || !linux

package worker

import (
	"fmt"
	"os"
)

// Available reports whether this build can run queries.
const Available = false

// Main says that the warehouse is not part of this build and returns an exit code.
func Main() int {
	fmt.Fprintln(os.Stderr, "the warehouse is not in this build: it needs cgo on linux")
	return 1
}
