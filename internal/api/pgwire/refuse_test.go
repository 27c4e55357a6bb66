package pgwire_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sluice.dev/sluice/internal/api/pgwire"
)

// A client that cannot be served gets a FATAL error, whether it asks for TLS first or not.
func TestRefusalsAreInTheProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // the test is over
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			pgwire.Refuse(c, "57P03", "the node that runs SQL cannot be reached")
			_ = c.Close() // it has been answered
		}
	}()
	for _, mode := range []string{"disable", "prefer"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := pgx.Connect(ctx, "postgres://u:p@"+ln.Addr().String()+"/dev?sslmode="+mode)
		cancel()
		var fatal *pgconn.PgError
		if !errors.As(err, &fatal) || fatal.Code != "57P03" || fatal.Severity != "FATAL" {
			t.Errorf("sslmode=%s: %v", mode, err)
		}
	}
}
