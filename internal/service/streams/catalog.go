package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sluice.dev/sluice/internal/base/segment"
)

// catalogFile is in a shard's directory and lists its segments, so that one that is gone
// or was cut is missed. It is written before a segment takes its first record, when one is
// finished, and before one is removed.
const catalogFile = "segments.json"

// listed is a segment in the catalog.
type listed struct {
	Base  int64 `json:"base"`
	Begun int64 `json:"begun"`          // milliseconds
	Size  int64 `json:"size,omitempty"` // of a finished segment, in bytes
	End   int64 `json:"end,omitempty"`  // of a finished segment, the offset behind it
}

func (l listed) latest() int64 { return time.UnixMilli(l.Begun).Add(rollAfter).UnixMilli() }

// maxRecords is more than one segment ever holds. A shard whose last segment is gone goes
// on behind what that may have held, so that no sequence number is given twice.
const maxRecords = 1 << 28

func readCatalog(dir string) (list []listed, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, catalogFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // of a version before
	}
	if err == nil {
		if err = json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("streams: %s is damaged (%w): restore it from a backup of the data directory, or remove it and start again; then nothing notices a segment that is missing", filepath.Join(dir, catalogFile), err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("streams: reading %s: %w", filepath.Join(dir, catalogFile), err)
	}
	return list, nil
}

// writeCatalog writes down the shard's segments.
func (sh *shard) writeCatalog() error {
	sh.mu.RLock()
	list := make([]listed, len(sh.segments))
	for i, lf := range sh.segments {
		list[i] = lf.listed
	}
	sh.mu.RUnlock()
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return segment.ReplaceFile(filepath.Join(sh.dir, catalogFile), raw)
}

// compare adds what the catalog lists to the segments that were found: what is missing
// keeps its place, so that reading its records is an error and not a silence.
func (sh *shard) compare(list []listed) {
	for _, l := range list {
		path := filepath.Join(sh.dir, segmentName(l.Base))
		i := slices.IndexFunc(sh.segments, func(lf *logFile) bool { return lf.base == l.Base })
		if i < 0 {
			sh.s.deps.Log.Error("streams: a segment is missing: its records are lost, and reading them is an error until they would have expired; restore it from a backup of the data directory",
				"segment", path, "stream", sh.id.stream, "shard", sh.id.index)
			sh.segments = append(sh.segments, &logFile{listed: l, base: l.Base, path: path, lost: true, latest: l.latest()})
			continue
		}
		lf := sh.segments[i]
		lf.listed, lf.latest = l, l.latest()
		st, err := os.Stat(path)
		if l.End > 0 && err == nil && st.Size() < l.Size {
			sh.s.deps.Log.Error("streams: a segment is cut: records at its end are lost, and reading them is an error until they would have expired; restore it from a backup of the data directory",
				"segment", path, "bytes", st.Size(), "of", l.Size, "stream", sh.id.stream, "shard", sh.id.index)
		}
	}
	slices.SortFunc(sh.segments, func(a, b *logFile) int { return int(a.base - b.base) })
}

// listedEnd is where the shard ends at least, by what the catalog says of its last segment.
func (sh *shard) listedEnd() int64 {
	if len(sh.segments) == 0 {
		return 0
	}
	last := sh.segments[len(sh.segments)-1]
	switch {
	case last.listed.End > 0:
		return last.listed.End
	case last.lost:
		return last.base + maxRecords
	}
	return 0
}

func segmentName(base int64) string { return fmt.Sprintf("%020d.seg", base) }
