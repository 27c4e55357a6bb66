package pgwire_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse"
	"sluice.dev/sluice/internal/service/warehouse/warehousetest"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// TestMain lets the test binary be its own worker process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sql-worker" {
		os.Exit(worker.Main())
	}
	os.Exit(m.Run())
}

const account = "123456789012"

// users are the identities that can sign in, by access key, and their secrets.
type users map[string]string

func (u users) SQLPassword(ctx context.Context, user string) (string, caller.Identity, error) {
	if user == "panic" {
		panic("the user store is broken")
	}
	secret, ok := u[user]
	if !ok {
		return "", caller.Identity{}, errors.New("no such user")
	}
	return secret, caller.Identity{Account: account, ARN: "arn:aws:iam::" + account + ":user/" + user, UserName: user, AccessKeyID: user}, nil
}

// site is a warehouse with its front on a loopback port.
type site struct {
	addr    *net.TCPAddr
	area    *warehousetest.Memory
	lake    *warehousetest.Memory
	policy  *warehousetest.Policy
	service *warehouse.Service
}

func serve(t testing.TB, config pgwire.Config, adjust ...func(*warehouse.Config)) *site {
	t.Helper()
	if !worker.Available {
		t.Skip("the warehouse is not in this build")
	}
	s := &site{area: warehousetest.NewMemory(), lake: warehousetest.NewMemory(), policy: &warehousetest.Policy{}}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(context.Background())
	db, err := store.Open(ctx, store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "control.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wc := warehouse.Config{Account: account, Region: "us-east-1", Worker: []string{exe, "sql-worker"}}
	for _, a := range adjust {
		a(&wc)
	}
	s.service, err = warehouse.New(wc, warehouse.Deps{
		Store: db, Area: s.area, Authorizer: s.policy, Clock: clock.System{}, Log: log,
		Objects: &warehousetest.Buckets{Sets: map[string]*warehousetest.Memory{"lake": s.lake}, Auth: s.policy},
	})
	if err != nil {
		t.Fatal(err)
	}
	front, err := pgwire.New(config, pgwire.Deps{Warehouse: s.service, Passwords: users{"AKIATEST": "secret", "AKIAOTHER": "other"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().(*net.TCPAddr)
	served := make(chan error, 1)
	go func() { served <- front.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.service.Close()
		db.Close()
	})
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (s *site) url(user, password string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/dev?sslmode=disable", user, password, s.addr.Port)
}

func (s *site) put(key, text string) {
	body := []byte(text)
	if strings.HasSuffix(key, ".gz") {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body)
		w.Close()
		body = b.Bytes()
	}
	s.lake.Put(key, body)
}

// psql runs the real psql over a script.
func (s *site) psql(t testing.TB, script string, args ...string) (stdout, stderr string) {
	t.Helper()
	bin, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	cmd := exec.Command(bin, append([]string{"-X", "-q", "-A", "-t", s.url("AKIATEST", "secret")}, args...)...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=20")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String()
}

func TestPsqlCount(t *testing.T) {
	s := serve(t, pgwire.Config{})
	s.put("CDC/2016/a.gz", "1,books,2.5,4,2016-01-02 03:04:05\n2,music,1.5,2,2016-02-03 00:00:00\n")
	s.put("CDC/2016/b", "3,toys,9.5,1,2016-01-02 00:00:00")
	out, errs := s.psql(t, `
		create external schema if not exists sp from data catalog database 'spdb' region 'us-east-1' iam_role 'arn:aws:iam::1:role/r' create external database if not exists;
		create external table sp.sales(itemid int, category varchar, price double precision, quantity int, orderdate timestamp)
		row format delimited fields terminated by ',' lines terminated by '\n' location 's3://lake/CDC/';
		select count(*) from sp.sales;
		select sum(Price*Quantity) from SP.Sales;
		select top 1 * from sp.sales order by itemid desc;
	`)
	if want := "3\n22.5\n3|toys|9.5|1|2016-01-02 00:00:00\n"; out != want || errs != "" {
		t.Errorf("got %q, %q, want %q", out, errs, want)
	}
}
