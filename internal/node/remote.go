package node

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"

	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/mesh"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/streams"
)

// What nodes ask each other for.
const (
	awsService      = "aws" // connections
	sqlService      = "sql"
	appendCall      = "append" // calls
	referencesCall  = "references"
	referencesNews  = "reference" // casts
	clientAddress   = "Sluice-Client-Address"
	maxSQLForwarded = 1024
)

// noDataNode is what a cluster answers for what it does not run.
var noDataNode = &fault.Reason{Kind: fault.Unavailable, Name: "NoDataNode"}

// elsewhere is the node that runs what is kept on one node.
type elsewhere struct {
	mesh *mesh.Mesh
	node string // empty where none does
}

func (e elsewhere) check() error {
	if e.node == "" {
		return noDataNode.New("objects, streams, deliveries, SQL and reference data are kept on one node, and this cluster names none: set cluster.data_node")
	}
	return nil
}

// aws passes calls of AWS APIs on as they are; the other node authenticates them.
func (e elsewhere) aws(log *slog.Logger) func(http.ResponseWriter, *http.Request) error {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", e.node
			r.Out.URL.RawQuery = r.In.URL.RawQuery // signatures cover it
			r.Out.Host = r.In.Host
			for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v, ok := r.In.Header[h]; ok {
					r.Out.Header[h] = v
				}
			}
			r.Out.Header.Set(clientAddress, r.In.RemoteAddr)
		},
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.mesh.Dial(ctx, e.node, awsService) }},
		FlushInterval: -1,
		ErrorLog:      discardLog(),
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := e.check(); err != nil {
			return err
		}
		var failed error
		p := *proxy
		p.ErrorHandler = func(_ http.ResponseWriter, r *http.Request, err error) {
			log.Warn("cannot forward a call", "node", e.node, "error", err)
			failed = mesh.NoPeer.New("node %q, which serves this API, cannot be reached", e.node)
		}
		p.ServeHTTP(w, r)
		return failed
	}
}

// fromPeer serves calls that other nodes pass on, with their clients' addresses.
func fromPeer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get(clientAddress); a != "" {
			r.RemoteAddr = a
			r.Header.Del(clientAddress)
		}
		h.ServeHTTP(w, r)
	})
}

// fromClient removes what only a node may say.
func fromClient(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(clientAddress)
		h.ServeHTTP(w, r)
	})
}

// serveSQL passes connections on until ctx ends.
func (e elsewhere) serveSQL(ctx context.Context, ln net.Listener, log *slog.Logger) error {
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	var all sync.WaitGroup
	defer all.Wait()
	busy := make(chan struct{}, maxSQLForwarded)
	for {
		client, err := ln.Accept()
		if err != nil {
			return err
		}
		select {
		case busy <- struct{}{}:
		default:
			all.Go(func() {
				defer client.Close()
				pgwire.Refuse(client, "53300", "this node forwards as many SQL connections as it may; try again later")
			})
			continue
		}
		all.Go(func() {
			defer func() { <-busy }()
			defer client.Close()
			err := e.check()
			var server net.Conn
			if err == nil {
				if server, err = e.mesh.Dial(ctx, e.node, sqlService); err != nil {
					err = mesh.NoPeer.Wrap(err, "node %q, which runs SQL, cannot be reached; try again later", e.node)
				}
			}
			if err != nil {
				log.Warn("cannot forward a SQL connection", "node", e.node, "error", err)
				pgwire.Refuse(client, "57P03", fault.MessageOf(err))
				return
			}
			defer server.Close()
			end := context.AfterFunc(ctx, func() { _ = server.Close(); _ = client.Close() })
			defer end()
			done := make(chan struct{})
			go func() {
				_, _ = io.Copy(server, client) // either side's end is the connection's
				_ = server.Close()
				close(done)
			}()
			_, _ = io.Copy(client, server)
			_ = client.Close()
			<-done
		})
	}
}

// remoteAppender appends on the node with the streams.
type remoteAppender struct {
	elsewhere
	region string
}

func (a remoteAppender) Append(ctx context.Context, stream string, events []collector.Record) error {
	if err := a.check(); err != nil {
		return err
	}
	batch := appended{a.region, stream, events}
	_, err := a.mesh.Call(ctx, a.node, appendCall, batch.encode())
	return err
}

// referenceCall is a question to the node with the reference data.
type referenceCall struct {
	Op              string
	Collection, Key string
	Doc             []byte
	After           string
	Limit           int
}

type referenceAnswer struct {
	Doc     []byte
	Found   bool
	Entries []gateway.ReferenceEntry
}

// remoteReferences are those of the node that has them.
type remoteReferences struct{ elsewhere }

func (r remoteReferences) ask(ctx context.Context, c referenceCall) (a referenceAnswer, err error) {
	if err := r.check(); err != nil {
		return a, err
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return a, err
	}
	out, err := r.mesh.Call(ctx, r.node, referencesCall, raw)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(out, &a)
}

func (r remoteReferences) Get(ctx context.Context, collection, key string) ([]byte, bool, error) {
	a, err := r.ask(ctx, referenceCall{Op: "get", Collection: collection, Key: key})
	return a.Doc, a.Found, err
}

func (r remoteReferences) Put(ctx context.Context, collection, key string, doc []byte) error {
	_, err := r.ask(ctx, referenceCall{Op: "put", Collection: collection, Key: key, Doc: doc})
	return err
}

func (r remoteReferences) Delete(ctx context.Context, collection, key string) (bool, error) {
	a, err := r.ask(ctx, referenceCall{Op: "delete", Collection: collection, Key: key})
	return a.Found, err
}

func (r remoteReferences) List(ctx context.Context, collection, after string, limit int) ([]gateway.ReferenceEntry, error) {
	a, err := r.ask(ctx, referenceCall{Op: "list", Collection: collection, After: after, Limit: limit})
	return a.Entries, err
}

// answerReferences answers for those that this node has.
func answerReferences(refs gateway.References) mesh.Handler {
	return func(ctx context.Context, _ string, body []byte) ([]byte, error) {
		var c referenceCall
		if err := json.Unmarshal(body, &c); err != nil {
			return nil, err
		}
		var a referenceAnswer
		var err error
		switch c.Op {
		case "get":
			a.Doc, a.Found, err = refs.Get(ctx, c.Collection, c.Key)
		case "put":
			err = refs.Put(ctx, c.Collection, c.Key, c.Doc)
		case "delete":
			a.Found, err = refs.Delete(ctx, c.Collection, c.Key)
		case "list":
			a.Entries, err = refs.List(ctx, c.Collection, c.After, c.Limit)
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
}

// answerAppends appends for collectors of other nodes, which have authorised their clients.
func answerAppends(to *streams.Service) mesh.Handler {
	return func(ctx context.Context, _ string, body []byte) ([]byte, error) {
		a, err := decodeAppended(body)
		if err != nil {
			return nil, err
		}
		return nil, appender{to, a.Region}.Append(ctx, a.Stream, a.Records)
	}
}

// changedReference is news for the caches of other nodes.
func changedReference(m *mesh.Mesh) func(collection, key string) {
	if m == nil {
		return nil
	}
	return func(collection, key string) {
		raw, err := json.Marshal(referenceCall{Collection: collection, Key: key})
		if err == nil {
			m.Cast(referencesNews, raw)
		}
	}
}

// serveLocal answers other nodes for what this one runs. The mesh does not run yet.
func (k *clustered) serveLocal(s *services, c *Config) {
	if k.mesh == nil {
		return
	}
	k.mesh.OnCast(referencesNews, func(_ string, body []byte) {
		var n referenceCall
		if json.Unmarshal(body, &n) == nil {
			s.references.Invalidate(n.Collection, n.Key)
		}
	})
	if s.local == nil {
		return
	}
	k.peerAWS, k.peerSQL = k.mesh.Listen(awsService), k.mesh.Listen(sqlService)
	k.mesh.OnCall(appendCall, answerAppends(s.local.streams))
	k.mesh.OnCall(referencesCall, answerReferences(s.references))
}
