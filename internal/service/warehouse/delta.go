package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"sluice.dev/sluice/internal/base/fault"
)

// A local table is a Delta Lake table in the warehouse's area: Parquet files that never
// change and a log of JSON entries, numbered without gaps, that add and remove them. The
// entry that is created is the commit. Any Delta reader that is given the decrypted
// objects reads the table.

// tableState is a table at one version.
type tableState struct {
	version int64
	files   map[string]dataFile // by path
}

// dataFile is one Parquet file of a table.
type dataFile struct {
	Path string
	Size int64
	Rows int64
}

// sorted returns the files in a steady order.
func (s *tableState) sorted() []dataFile {
	return slices.SortedFunc(maps.Values(s.files), func(a, b dataFile) int { return strings.Compare(a.Path, b.Path) })
}

// small returns the files that are worth putting together.
func (s *tableState) small() map[string]dataFile {
	out := map[string]dataFile{}
	for path, f := range s.files {
		if f.Size < smallFile {
			out[path] = f
		}
	}
	return out
}

const smallFile = 4 << 20 // bytes

// tableCache keeps the latest state seen of each table. States are immutable.
type tableCache struct {
	mu     sync.Mutex
	states map[string]*tableState
}

const maxCachedTables = 10_000

func newTableCache() *tableCache { return &tableCache{states: map[string]*tableState{}} }

func (c *tableCache) get(id string) *tableState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[id]
}

func (c *tableCache) put(id string, s *tableState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.states[id]; old != nil && old.version >= s.version {
		return
	}
	if len(c.states) >= maxCachedTables {
		clear(c.states)
	}
	c.states[id] = s
}

// Keys in the area.
const tablesPrefix = "tables/"

func tablePrefix(id string) string     { return tablesPrefix + id + "/" }
func fileKey(id, path string) string   { return tablePrefix(id) + path }
func logPrefix(id string) string       { return tablePrefix(id) + "_delta_log/" }
func logKey(id string, v int64) string { return fmt.Sprintf("%s%020d.json", logPrefix(id), v) }
func isLogEntry(key string) bool       { return strings.Contains(key, "/_delta_log/") }
func tableOf(key string) (string, bool) {
	id, _, ok := strings.Cut(strings.TrimPrefix(key, tablesPrefix), "/")
	return id, ok
}

// The actions of a log entry that we write and read.
type action struct {
	CommitInfo map[string]any `json:"commitInfo,omitempty"`
	Protocol   *protocol      `json:"protocol,omitempty"`
	MetaData   *metaData      `json:"metaData,omitempty"`
	Add        *addFile       `json:"add,omitempty"`
	Remove     *removeFile    `json:"remove,omitempty"`
}

type protocol struct {
	MinReaderVersion int      `json:"minReaderVersion"`
	MinWriterVersion int      `json:"minWriterVersion"`
	ReaderFeatures   []string `json:"readerFeatures,omitempty"`
	WriterFeatures   []string `json:"writerFeatures,omitempty"`
}

type metaData struct {
	ID     string `json:"id"`
	Format struct {
		Provider string            `json:"provider"`
		Options  map[string]string `json:"options"`
	} `json:"format"`
	SchemaString     string            `json:"schemaString"`
	PartitionColumns []string          `json:"partitionColumns"`
	Configuration    map[string]string `json:"configuration"`
	CreatedTime      int64             `json:"createdTime"`
}

type addFile struct {
	Path             string            `json:"path"`
	PartitionValues  map[string]string `json:"partitionValues"`
	Size             int64             `json:"size"`
	ModificationTime int64             `json:"modificationTime"`
	DataChange       bool              `json:"dataChange"`
	Stats            string            `json:"stats,omitempty"`
}

type removeFile struct {
	Path              string `json:"path"`
	DeletionTimestamp int64  `json:"deletionTimestamp"`
	DataChange        bool   `json:"dataChange"`
}

// tableState returns the table as it is now, reading the entries that are new.
func (s *Service) tableState(ctx context.Context, id string) (*tableState, error) {
	state := s.tables.get(id)
	if state == nil {
		state = &tableState{version: -1}
	}
	for {
		body, err := s.readArea(ctx, logKey(id, state.version+1))
		if fault.KindOf(err) == fault.NotFound {
			break
		}
		if err != nil {
			return nil, BadData.wrap(err, "the log of table %s cannot be read", id)
		}
		if state, err = state.apply(body); err != nil {
			return nil, BadData.wrap(err, "entry %d of the log of table %s is damaged", state.version+1, id)
		}
	}
	if state.version < 0 {
		return nil, BadData.new("the log of table %s is missing", id)
	}
	s.tables.put(id, state)
	return state, nil
}

func (s *Service) readArea(ctx context.Context, key string) ([]byte, error) {
	body, _, err := s.area.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// apply returns the state after one entry; on an error the old state is returned too.
func (t *tableState) apply(entry []byte) (*tableState, error) {
	next := &tableState{version: t.version + 1, files: maps.Clone(t.files)}
	if next.files == nil {
		next.files = map[string]dataFile{}
	}
	dec := json.NewDecoder(bytes.NewReader(entry))
	for {
		var a action
		if err := dec.Decode(&a); err == io.EOF {
			return next, nil
		} else if err != nil {
			return t, err
		}
		if a.Add != nil {
			var stats struct {
				NumRecords int64 `json:"numRecords"`
			}
			_ = json.Unmarshal([]byte(a.Add.Stats), &stats) // statistics are optional
			next.files[a.Add.Path] = dataFile{a.Add.Path, a.Add.Size, stats.NumRecords}
		}
		if a.Remove != nil {
			delete(next.files, a.Remove.Path)
		}
	}
}

// errConflict says that another commit came first.
var errConflict = errors.New("another commit came first")

// createLog writes entry 0 of a new table.
func (s *Service) createLog(ctx context.Context, id string, doc *Table, files []dataFile) error {
	schema, ntz := deltaSchema(doc.Columns)
	p := &protocol{MinReaderVersion: 1, MinWriterVersion: 2}
	if ntz {
		p = &protocol{3, 7, []string{"timestampNtz"}, []string{"timestampNtz"}}
	}
	now := s.clock.Now().UnixMilli()
	m := &metaData{ID: uuidOf(id), SchemaString: schema, PartitionColumns: []string{}, Configuration: map[string]string{}, CreatedTime: now}
	m.Format.Provider, m.Format.Options = "parquet", map[string]string{}
	return s.writeEntry(ctx, id, 0, append([]action{
		{CommitInfo: map[string]any{"timestamp": now, "operation": "CREATE TABLE", "engineInfo": "sluice"}},
		{Protocol: p}, {MetaData: m},
	}, s.adds(files)...))
}

func uuidOf(hex string) string {
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:]
}

func (s *Service) adds(files []dataFile) []action {
	var out []action
	for _, f := range files {
		out = append(out, action{Add: &addFile{
			Path: f.Path, PartitionValues: map[string]string{}, Size: f.Size, ModificationTime: s.clock.Now().UnixMilli(), DataChange: true,
			Stats: `{"numRecords":` + strconv.FormatInt(f.Rows, 10) + `}`,
		}})
	}
	return out
}

// writeEntry creates one entry; errConflict when there is one of that number.
func (s *Service) writeEntry(ctx context.Context, id string, version int64, actions []action) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, a := range actions {
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	err := s.area.Create(ctx, logKey(id, version), &body)
	if fault.KindOf(err) == fault.Exists {
		return errConflict
	}
	return err
}

// commitFiles makes one entry that removes and adds files of a table. It goes on top of
// whatever was committed since state was read, as long as no file it removes is gone: what
// others added meanwhile comes after this change.
func (s *Service) commitFiles(ctx context.Context, id, operation string, state *tableState, remove, add []dataFile) error {
	for range 100 {
		now := s.clock.Now().UnixMilli()
		actions := []action{{CommitInfo: map[string]any{"timestamp": now, "operation": operation, "engineInfo": "sluice"}}}
		for _, f := range remove {
			if _, ok := state.files[f.Path]; !ok {
				return SerializationFailure.new("could not serialize access due to concurrent update").hint("Run the statement again.")
			}
			actions = append(actions, action{Remove: &removeFile{Path: f.Path, DeletionTimestamp: now, DataChange: operation != opOptimize}})
		}
		added := s.adds(add)
		for _, a := range added {
			a.Add.DataChange = operation != opOptimize
		}
		err := s.writeEntry(ctx, id, state.version+1, append(actions, added...))
		if !errors.Is(err, errConflict) {
			return err
		}
		if state, err = s.tableState(ctx, id); err != nil {
			return err
		}
	}
	return SerializationFailure.new("the table is changed by too many at a time").hint("Run the statement again.")
}

// opOptimize names an entry that changes files and no rows.
const opOptimize = "OPTIMIZE"

// deltaSchema writes the columns as Delta's schema; ntz reports a timestamp without zone,
// which needs a table feature.
func deltaSchema(columns []Column) (schema string, ntz bool) {
	type field struct {
		Name     string         `json:"name"`
		Type     string         `json:"type"`
		Nullable bool           `json:"nullable"`
		Metadata map[string]any `json:"metadata"`
	}
	fields := make([]field, len(columns))
	for i, c := range columns {
		t := "string"
		switch e := c.stored(); {
		case e == "SMALLINT":
			t = "short"
		case e == "INTEGER":
			t = "integer"
		case e == "BIGINT":
			t = "long"
		case e == "FLOAT":
			t = "float"
		case e == "DOUBLE":
			t = "double"
		case e == "BOOLEAN":
			t = "boolean"
		case e == "DATE":
			t = "date"
		case e == "TIMESTAMPTZ":
			t = "timestamp"
		case e == "TIMESTAMP":
			t, ntz = "timestamp_ntz", true
		case e == "BLOB":
			t = "binary"
		case strings.HasPrefix(e, "DECIMAL"):
			t = strings.ToLower(strings.ReplaceAll(e, " ", ""))
		}
		fields[i] = field{c.Name, t, !c.NotNull, map[string]any{}}
	}
	b, _ := json.Marshal(map[string]any{"type": "struct", "fields": fields}) // strings and booleans: cannot fail
	return string(b), ntz
}

// stored is the engine's type of a column in the files: what Delta has no type for is text.
func (c Column) stored() string {
	switch c.Engine {
	case "TIME", "UUID", "INTERVAL", "JSON":
		return "VARCHAR"
	}
	return c.Engine
}
