package store_test

import (
	"database/sql"
	"net/url"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// Nodes that start at one moment on an empty database all come to its schema.
func TestManyMigrateAtOnce(t *testing.T) {
	for name, server := range map[string]func(testing.TB) *dbtest.Server{"PostgreSQL": dbtest.Postgres, "MariaDB": dbtest.MariaDB} {
		t.Run(name, func(t *testing.T) {
			url := server(t).URL
			instances := make([]string, 8)
			var all sync.WaitGroup
			for i := range instances {
				all.Go(func() {
					id, err := store.Identify(t.Context(), url, nil)
					if err != nil {
						t.Error(err)
					}
					instances[i] = id.Instance
				})
			}
			all.Wait()
			for _, in := range instances {
				if in == "" || in != instances[0] {
					t.Errorf("instances %q", instances)
				}
			}
		})
	}
}

// MariaDB keeps each statement of a migration that was cut off; the next start goes on from there.
func TestAMigrationThatWasCutOffIsBegunAgain(t *testing.T) {
	server := dbtest.MariaDB(t)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", u.User.Username()+":"+password+"@tcp("+u.Host+")/"+strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, made := range []string{"CREATE TABLE sluice_meta (id INT PRIMARY KEY, revision BIGINT NOT NULL, compacted BIGINT NOT NULL, probe VARBINARY(255)) ENGINE = InnoDB",
		"INSERT INTO sluice_meta (id, revision, compacted) VALUES (1, 0, 0)"} {
		if _, err := db.ExecContext(t.Context(), made); err != nil {
			t.Fatal(err)
		}
	}
	if id, err := store.Identify(t.Context(), server.URL, nil); err != nil || id.Used {
		t.Errorf("%+v, %v", id, err)
	}
}
