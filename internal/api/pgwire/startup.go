package pgwire

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/xdg-go/scram"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse"
)

// iterations of SCRAM's key derivation, PostgreSQL's number.
const iterations = 4096

var errGone = errors.New("the client went away")

// startup negotiates TLS, authenticates, and opens the session. A client that is still
// there is told why it fails.
func (c *conn) startup() error {
	deadline := time.Now().Add(c.server.cfg.AuthTime)
	_ = c.net.SetDeadline(deadline)
	defer func() {
		if c.ctx.Err() == nil {
			_ = c.net.SetDeadline(time.Time{})
		}
	}()
	err := c.negotiate()
	if err == nil || errors.Is(err, errGone) || c.told {
		return err
	}
	code := "08P01"
	switch {
	case c.ctx.Err() != nil:
		code, err = "57P01", errors.New("terminating connection due to administrator command")
	case errors.Is(err, os.ErrDeadlineExceeded):
		code, err = "57014", errors.New("canceling authentication due to timeout")
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, errHandshake):
		return err
	default:
		var version uint32
		if _, scanErr := fmt.Sscanf(err.Error(), "unknown startup message code: %d", &version); scanErr == nil {
			code, err = "0A000", fmt.Errorf("unsupported frontend protocol %d.%d: server supports 3.0", version>>16, version&0xffff)
		}
	}
	_ = c.net.SetDeadline(time.Now().Add(time.Second))
	return c.fatal(code, "%s", err)
}

// errHandshake is a failure of TLS, behind which no message can be read.
var errHandshake = errors.New("the TLS handshake failed")

func (c *conn) negotiate() error {
	for range 4 {
		message, err := c.be.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.GSSEncRequest:
			if _, err := c.net.Write([]byte{'N'}); err != nil {
				return err
			}
		case *pgproto3.SSLRequest:
			if err := c.secure(); err != nil {
				return err
			}
		case *pgproto3.CancelRequest:
			c.server.cancel(m.ProcessID, m.SecretKey)
			return errGone
		case *pgproto3.StartupMessage:
			return c.welcome(m)
		}
	}
	return errors.New("too many startup messages")
}

func (c *conn) secure() error {
	if c.server.cfg.TLS == nil {
		_, err := c.net.Write([]byte{'N'})
		return err
	}
	if c.in.Buffered() > 0 {
		return errors.New("received unencrypted data after SSL request")
	}
	if _, err := c.net.Write([]byte{'S'}); err != nil {
		return err
	}
	t := tls.Server(c.net, c.server.cfg.TLS)
	if err := t.HandshakeContext(c.ctx); err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	c.encrypted = true
	c.attach(t)
	return nil
}

// fatal tells the client why its connection ends.
func (c *conn) fatal(code, format string, args ...any) error {
	c.told = true
	c.be.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: fmt.Sprintf(format, args...)})
	_ = c.be.Flush()
	return fmt.Errorf(format, args...)
}

// refuse tells the client of a failure of the warehouse's, which ends its connection.
func (c *conn) refuse(err error) error {
	c.told = true
	c.fail(err, "FATAL", "", 0)
	_ = c.be.Flush()
	return err
}

func (c *conn) welcome(m *pgproto3.StartupMessage) error {
	user, database := m.Parameters["user"], m.Parameters["database"]
	if database == "" {
		database = user
	}
	if m.Parameters["replication"] != "" {
		return c.fatal("0A000", "replication is not supported")
	}
	if user == "" || len(user) > 256 {
		return c.fatal("28000", "no user name was given, or one that is too long")
	}
	if c.server.cfg.RequireTLS && !c.encrypted {
		return c.fatal("28000", "this server requires TLS; connect with sslmode=require")
	}
	if m.ProtocolVersion == pgproto3.ProtocolVersion32 {
		c.be.Send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0})
	}
	prove := c.authenticate
	ofRedshift := redshiftDriver(m.Parameters)
	if ofRedshift {
		if !c.encrypted {
			return c.fatal("28000", "Amazon Redshift's drivers send passwords in clear text and need TLS here; connect with ssl enabled, or with a PostgreSQL driver")
		}
		prove = c.authenticateClear
	}
	id, err := prove(user)
	host, _, _ := net.SplitHostPort(c.net.RemoteAddr().String())
	if errors.Is(err, errPassword) {
		c.server.failures.wait(c.ctx, c.server.cfg.FailDelay, "from "+host, "as "+user)
		_ = c.net.SetDeadline(time.Now().Add(time.Second))
		return c.fatal("28P01", "password authentication failed for user \"%s\"", user)
	}
	if err != nil {
		return err
	}
	if !c.server.register(c) {
		return c.fatal("53300", "sorry, too many clients already")
	}
	ctx := caller.With(c.ctx, id)
	if c.session, err = c.server.deps.Warehouse.Open(ctx, database); err != nil {
		return c.refuse(err)
	}
	c.session.SetProcess(c.pid)
	for name, value := range m.Parameters {
		switch {
		case name == "user", name == "database", strings.HasPrefix(name, "_pq_"):
			continue
		case name == "options":
			err = c.options(value)
		default:
			// Redshift's drivers say much of themselves here that is no setting.
			if err = c.session.SetParameter(name, value); ofRedshift && warehouse.UndefinedObject.Is(err) {
				err = nil
			}
		}
		if err != nil {
			return c.refuse(err)
		}
	}
	c.be.Send(&pgproto3.AuthenticationOk{})
	for _, p := range parameters {
		c.be.Send(&pgproto3.ParameterStatus{Name: p, Value: c.session.Parameter(p)})
	}
	c.be.Send(&pgproto3.BackendKeyData{ProcessID: c.pid, SecretKey: c.key})
	return c.ready()
}

// options reads the settings of a command line: -c name=value and --name=value.
func (c *conn) options(line string) error {
	words := strings.Fields(line)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "-c" && i+1 < len(words):
			i++
			word = words[i]
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		case strings.HasPrefix(word, "--"):
			word = strings.ReplaceAll(word[2:], "-", "_")
		default:
			return protocolErrorf("42601", "invalid command-line argument for server process: %s", word)
		}
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return protocolErrorf("42601", "invalid command-line argument for server process: %s", word)
		}
		if err := c.session.SetParameter(name, value); err != nil {
			return err
		}
	}
	return nil
}

var errPassword = errors.New("the password is wrong")

// authenticate proves by SCRAM-SHA-256 that the client knows the user's secret. For a
// user that does not exist the exchange runs to the same end with a secret nobody knows.
func (c *conn) authenticate(user string) (caller.Identity, error) {
	secret, id, lookupErr := c.server.deps.Passwords.SQLPassword(c.ctx, user)
	if lookupErr != nil || secret == "" {
		secret = string(c.server.derive("secret", user))
	}
	salt := c.server.derive("salt", user)[:16]
	client, err := scram.SHA256.NewClientUnprepped("", secret, "")
	if err != nil {
		return id, err
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return id, err
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		return id, err
	}
	talk := server.NewConversation()

	c.be.Send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}})
	if err := c.be.SetAuthType(pgproto3.AuthTypeSASL); err != nil {
		return id, err
	}
	if err := c.be.Flush(); err != nil {
		return id, err
	}
	message, err := c.be.Receive()
	if err != nil {
		return id, err
	}
	initial, ok := message.(*pgproto3.SASLInitialResponse)
	if !ok || initial.AuthMechanism != "SCRAM-SHA-256" {
		return id, errPassword
	}
	answer, err := talk.Step(string(initial.Data))
	if err != nil {
		return id, errPassword
	}
	c.be.Send(&pgproto3.AuthenticationSASLContinue{Data: []byte(answer)})
	if err := c.be.SetAuthType(pgproto3.AuthTypeSASLContinue); err != nil {
		return id, err
	}
	if err := c.be.Flush(); err != nil {
		return id, err
	}
	if message, err = c.be.Receive(); err != nil {
		return id, err
	}
	response, ok := message.(*pgproto3.SASLResponse)
	if !ok {
		return id, errPassword
	}
	answer, err = talk.Step(string(response.Data))
	if err != nil || !talk.Valid() || lookupErr != nil {
		return id, errPassword
	}
	c.be.Send(&pgproto3.AuthenticationSASLFinal{Data: []byte(answer)})
	return id, nil
}

// derive returns bytes that are the same for a user as long as the server runs and that
// nobody else can compute.
func (s *Server) derive(purpose, user string) []byte {
	mac := hmac.New(sha256.New, s.salt[:])
	mac.Write([]byte(purpose + "\x00" + user))
	return []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
