package pgwire

import (
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// refuseWithin bounds how long a client that is refused may take for its startup packet.
const refuseWithin = 10 * time.Second

// Refuse answers a client that has just connected with a FATAL error of a SQLSTATE, in the protocol's own shape,
// and leaves the connection to be closed. A client that asks for TLS is told in clear: there is no server here.
func Refuse(conn net.Conn, sqlstate, message string) {
	_ = conn.SetDeadline(time.Now().Add(refuseWithin)) // a connection that is gone fails below
	b := pgproto3.NewBackend(conn, conn)
	for range 3 { // it may ask for TLS and for GSSAPI first
		m, err := b.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return
			}
			continue
		case *pgproto3.StartupMessage:
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: sqlstate, Message: message})
			_ = b.Flush() // the client is gone if it fails
		}
		return
	}
}
