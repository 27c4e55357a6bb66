package warehouse

import (
	"context"
	"path"
)

// Clean removes the files that no table needs: those of dropped tables, those a newer
// version replaced, and those a crash left before their commit. Files younger than the
// retention are kept, because a running statement may have planned with them, or is
// writing them. It returns how many it removed.
func (s *Service) Clean(ctx context.Context) (removed int, err error) {
	snapshot := s.cat.store.Snapshot()
	before := s.clock.Now().Add(-s.cfg.Retention)
	states := map[string]*tableState{}
	for o, err := range s.area.List(ctx, tablesPrefix) {
		if err != nil {
			return removed, err
		}
		id, ok := tableOf(o.Key)
		if !ok || o.Modified.After(before) {
			continue
		}
		if s.cat.tables.Has(snapshot, id) {
			if isLogEntry(o.Key) {
				continue
			}
			state := states[id]
			if state == nil {
				if state, err = s.tableState(ctx, id); err != nil {
					s.log.Warn("a table's log cannot be read, its files are kept", "table", id, "error", err)
					state = &tableState{version: -1}
				}
				states[id] = state
			}
			if _, used := state.files[path.Base(o.Key)]; used || state.version < 0 {
				continue
			}
		}
		if err := s.area.Delete(ctx, o.Key); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
