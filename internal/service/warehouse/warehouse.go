package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"runtime"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// Database is the name of the one database every session is in.
const Database = "dev"

// The schemas that exist without being made. The last two hold PostgreSQL's catalogue
// under names of our own, since the engine has built-in schemas of the usual names.
const (
	publicSchema      = "public"
	catalogSchema     = "sluice_pg"
	informationSchema = "sluice_is"
)

const maxParameters = 1000 // of one statement

// Authorizer decides whether the caller in the context may do an action.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// ObjectInfo describes one object.
type ObjectInfo struct {
	Key      string
	Size     int64
	ETag     string
	Modified time.Time
}

// Objects reads buckets as the caller in the context: it authorises each call itself.
type Objects interface {
	List(ctx context.Context, bucket, prefix string) iter.Seq2[ObjectInfo, error]
	Open(ctx context.Context, bucket, key string) (io.ReadCloser, ObjectInfo, error)
}

// Area is storage that only the warehouse reaches; what is in it is encrypted.
type Area interface {
	List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error]
	Open(ctx context.Context, key string) (io.ReadCloser, ObjectInfo, error)
	// Create makes a new object. It fails with a fault of kind Exists where there is
	// one, and makes nothing when r fails: it is the atomic commit of a table.
	Create(ctx context.Context, key string, r io.Reader) error
	Delete(ctx context.Context, key string) error
}

// Config sets the warehouse's limits. The zero value of a field means its default.
type Config struct {
	Account string
	Region  string
	Worker  []string // argv of a worker process; the limits are appended

	Concurrency int           // statements that run at a time; the number of processors
	Queue       int           // statements that wait for their turn; 100
	Threads     int           // of one statement; the number of processors
	Memory      int64         // bytes the engine may hold for one statement; 1 GiB
	Quota       int64         // bytes of files in memory one statement may read; proven text beyond it is streamed; 1 GiB
	Files       int           // descriptors of one worker; 4096
	SmallFiles  int           // small files of a table after which an insert puts them together; 64
	Idle        int           // workers kept warm, -1 for none; 2
	IdleTime    time.Duration // how long; 1 min
	StartTime   time.Duration // within which a worker must be ready; 20 s
	Grace       time.Duration // from a cancellation to the end of the worker; 2 s
	Timeout     time.Duration // of a statement, unless the session sets another; 0 is none
	Retention   time.Duration // how long files no version needs are kept for running queries; 1 h
	CleanEvery  time.Duration // 10 min
}

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Concurrency, runtime.NumCPU())
	set(&c.Queue, 100)
	set(&c.Threads, runtime.NumCPU())
	set(&c.Files, 4096)
	set(&c.SmallFiles, 64)
	set(&c.Idle, 2)
	c.Idle = max(c.Idle, 0)
	duration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	duration(&c.IdleTime, time.Minute)
	duration(&c.StartTime, 20*time.Second)
	duration(&c.Grace, 2*time.Second)
	duration(&c.Retention, time.Hour)
	duration(&c.CleanEvery, 10*time.Minute)
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	if c.Quota == 0 {
		c.Quota = 1 << 30
	}
	return c
}

// Validate names the first field that makes no sense.
func (c Config) Validate() error {
	switch {
	case !name.ValidAccount(c.Account):
		return fmt.Errorf("account: %q is not twelve digits", c.Account)
	case c.Region == "":
		return errors.New("region: is empty")
	case len(c.Worker) == 0:
		return errors.New("worker: the command of a worker process is missing")
	case c.Concurrency < 0 || c.Queue < 0 || c.Threads < 0:
		return errors.New("concurrency, queue and threads must not be negative")
	case c.Memory != 0 && c.Memory < 64<<20:
		return errors.New("memory: less than 64 MiB")
	case c.Quota < 0:
		return errors.New("quota: is negative")
	case c.Files != 0 && c.Files < 64:
		return errors.New("files: less than 64")
	}
	return nil
}

// nobody is the user a worker becomes when the node is root.
const nobody = 65534

func (c Config) limits() worker.Limits {
	return worker.Limits{Memory: c.Memory, Threads: c.Threads, Files: c.Files, UID: nobody}
}

// Deps is what the warehouse needs of the rest of the node.
type Deps struct {
	Store      *store.Store
	Objects    Objects
	Area       Area
	Authorizer Authorizer
	Clock      clock.Clock
	Log        *slog.Logger
}

// Service is the warehouse.
type Service struct {
	cfg     Config
	cat     *catalogue
	objects Objects
	area    Area
	auth    Authorizer
	clock   clock.Clock
	log     *slog.Logger
	pool    *pool
	tables  *tableCache
	proven  *provenObjects
	turns   turns
}

// New returns a warehouse. It starts no process before the first session.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	if d.Store == nil || d.Objects == nil || d.Area == nil || d.Authorizer == nil || d.Clock == nil || d.Log == nil {
		return nil, errors.New("warehouse: a dependency is missing")
	}
	cfg = cfg.withDefaults()
	return &Service{
		cfg: cfg, cat: newCatalogue(d.Store), objects: d.Objects, area: d.Area, auth: d.Authorizer,
		clock: d.Clock, log: d.Log, pool: newPool(cfg, d.Log), tables: newTableCache(), proven: newProvenObjects(),
	}, nil
}

// Run removes from time to time what no table needs. It blocks until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.CleanEvery)
	defer ticker.Stop()
	retry := work.Retry{Log: s.log, What: "warehouse: cleaning its area", First: s.cfg.CleanEvery, Last: s.cfg.CleanEvery}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := s.Clean(ctx); err == nil {
				retry.Worked()
			} else if ctx.Err() == nil {
				retry.Failed(err)
			}
		}
	}
}

// Close ends the idle workers. Statements that run are ended by their sessions.
func (s *Service) Close() { s.pool.close() }

// identity returns who calls; a context without a caller may do nothing.
func identity(ctx context.Context) (caller.Identity, error) {
	id, ok := caller.From(ctx)
	if !ok {
		return id, InsufficientPrivilege.new("the session has no identity")
	}
	return id, nil
}

// authorize asks for an action on a catalogue object and phrases a refusal as
// PostgreSQL does.
func (s *Service) authorize(ctx context.Context, action name.Action, resource, what string, position int) error {
	arn := name.ARN{Service: "glue", Region: s.cfg.Region, Account: s.cfg.Account, Resource: resource}
	if err := s.auth.Authorize(ctx, action, arn); err != nil {
		p := InsufficientPrivilege.wrap(err, "permission denied for %s", what).detail("%s is not allowed on %s.", action, arn)
		p.Position = position
		return p
	}
	return nil
}
