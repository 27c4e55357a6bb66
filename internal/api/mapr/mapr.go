package mapr

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/cluster"
)

// Codes of errors are like those of errno.
const (
	codeDenied   = 13
	codeNotFound = 2
	codeInvalid  = 22
	codeFailed   = 1
)

// Column is one of a verb's columns. Clients may name it either way.
type Column struct {
	Name  string `json:"name"`
	Short string `json:"short"`
	// Header is what stands over it in a table; Name where it is empty.
	Header string `json:"header,omitempty"`
}

// Row is a row by the names of its columns.
type Row map[string]any

// Answer is the envelope of what a verb answers.
type Answer struct {
	Timestamp int64   `json:"timestamp"`
	TimeOfDay string  `json:"timeofday"`
	Status    string  `json:"status"`
	Total     int     `json:"total"`
	Data      []Row   `json:"data"`
	Errors    []Error `json:"errors,omitempty"`
	// Columns are those of Data, in order, for who prints a table.
	Columns []Column `json:"-"`
}

// Error is what went wrong.
type Error struct {
	ID   int    `json:"id"`
	Desc string `json:"desc"`
}

// verb is one command: its flags, columns and what it does.
type verb struct {
	flags   []string
	columns []Column
	run     func(*Handler, context.Context, url.Values) ([]Row, error)
}

// common are the flags of every verb.
var common = []string{"cluster", "zkconnect", "columns", "start", "limit", "output", "sortby", "sortorder"}

var verbs = map[string]verb{
	"node list": {
		columns: []Column{{"id", "id", ""}, {"ip", "ip", ""}, {"hostname", "h", ""}, {"service", "svc", ""}, {"configuredservice", "csvc", ""}, {"racktopo", "rp", ""},
			{"health", "health", ""}, {"healthDesc", "healthDesc", ""}, {"version", "version", ""}, {"leases", "leases", ""}, {"lag", "lag", ""}, {"roles", "roles", ""}},
		run: (*Handler).nodes,
	},
	"service list": {
		flags: []string{"node"},
		columns: []Column{{"name", "name", ""}, {"state", "state", ""}, {"logpath", "logpath", ""}, {"displayname", "displayname", ""},
			{"memallocated", "memallocated", ""}},
		run: (*Handler).services,
	},
}

// Columns are the columns of a verb, in order.
func Columns(command string) []Column { return verbs[command].columns }

// Nodes is what the verbs need of the cluster.
type Nodes interface {
	Nodes(ctx context.Context) ([]cluster.Node, error)
}

// Deps is what the front works with.
type Deps struct {
	Cluster Nodes
	// Self is this node's name, which stands for localhost.
	Self     string
	Identify func(r *http.Request) (caller.Identity, error)
	Clock    clock.Clock
	Log      *slog.Logger
}

// Handler answers the verbs.
type Handler struct{ deps Deps }

// New returns the handler of /rest/.
func New(d Deps) *Handler { return &Handler{d} }

// ServeHTTP answers one verb.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	command := strings.ReplaceAll(strings.Trim(strings.TrimPrefix(r.URL.Path, "/rest"), "/"), "/", " ")
	a := Answer{Status: "OK", Data: []Row{}}
	now := h.deps.Clock.Now()
	a.Timestamp, a.TimeOfDay = now.UnixMilli(), now.Format("2006-01-02 15:04:05.000 GMT-0700 PM")
	rows, status, err := h.run(r, command)
	if err != nil {
		a.Status, a.Errors = "ERROR", []Error{{code(err), command + ": " + fault.MessageOf(err)}}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="sluice"`)
		}
		if fault.KindOf(err) == fault.Internal {
			h.deps.Log.Error("a verb of maprcli failed", "command", command, "error", err)
		}
	} else {
		a.Total, a.Data = len(rows), rows
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client is gone if it fails
}

func code(err error) int {
	switch fault.KindOf(err) {
	case fault.Denied, fault.Unauthenticated:
		return codeDenied
	case fault.NotFound:
		return codeNotFound
	case fault.Invalid, fault.Unsupported:
		return codeInvalid
	}
	return codeFailed
}

var (
	badFlag = &fault.Reason{Kind: fault.Invalid, Name: "BadFlag"}
	noVerb  = &fault.Reason{Kind: fault.Unsupported, Name: "NoSuchCommand"}
)

func (h *Handler) run(r *http.Request, command string) ([]Row, int, error) {
	id, err := h.deps.Identify(r)
	if err != nil {
		return nil, http.StatusUnauthorized, err
	}
	v, ok := verbs[command]
	if !ok {
		return nil, http.StatusNotFound, noVerb.New("there is no such command; there are %s", strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	if r.Method != http.MethodGet {
		return nil, http.StatusMethodNotAllowed, badFlag.New("the command is read with GET")
	}
	flags := r.URL.Query()
	for f := range flags {
		if !slices.Contains(common, f) && !slices.Contains(v.flags, f) {
			return nil, http.StatusBadRequest, badFlag.Field(f, "there is no flag -%s", f)
		}
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // empty where there is no port
	ctx := caller.WithRequest(caller.With(r.Context(), id), caller.Request{ID: name.UniqueID("", 20), SourceIP: host})
	rows, err := v.run(h, ctx, flags)
	if err == nil {
		rows, err = v.choose(rows, flags)
	}
	switch {
	case err == nil:
		return rows, http.StatusOK, nil
	case fault.KindOf(err) == fault.Denied:
		return nil, http.StatusForbidden, err
	case code(err) == codeInvalid:
		return nil, http.StatusBadRequest, err
	case code(err) == codeNotFound:
		return nil, http.StatusNotFound, err
	}
	return nil, http.StatusInternalServerError, err
}

// choose keeps the rows and columns that were asked for.
func (v verb) choose(rows []Row, flags url.Values) ([]Row, error) {
	columns, err := v.Choose(flags.Get("columns"))
	if err != nil {
		return nil, err
	}
	start, limit := 0, len(rows)
	for name, to := range map[string]*int{"start": &start, "limit": &limit} {
		if text := flags.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 0 {
				return nil, badFlag.Field(name, "-%s is a number, not %q", name, text)
			}
		}
	}
	rows = rows[min(start, len(rows)):]
	rows = rows[:min(limit, len(rows))]
	out := make([]Row, 0, len(rows))
	for _, r := range rows {
		chosen := Row{}
		for _, c := range columns {
			if value, ok := r[c.Name]; ok {
				chosen[c.Name] = value
			}
		}
		out = append(out, chosen)
	}
	return out, nil
}

// Choose returns the columns that a list of names or short names asks for; all for "" and
// "all".
func (v verb) Choose(list string) ([]Column, error) {
	if list == "" || list == "all" {
		return v.columns, nil
	}
	var out []Column
	for n := range strings.SplitSeq(list, ",") {
		n = strings.TrimSpace(n)
		i := slices.IndexFunc(v.columns, func(c Column) bool { return c.Name == n || c.Short == n })
		if i < 0 {
			return nil, badFlag.Field("columns", "there is no column %q", n)
		}
		out = append(out, v.columns[i])
	}
	return out, nil
}

// Chosen are the columns of a command that a list asks for, for who prints a table.
func Chosen(command, list string) ([]Column, error) { return verbs[command].Choose(list) }

// healths are the numbers of a node's state.
var healths = map[string]int{cluster.Up: 0, cluster.Cordoned: 3, cluster.Draining: 3, cluster.Drained: 3, cluster.Down: 4}

func (h *Handler) nodes(ctx context.Context, _ url.Values) ([]Row, error) {
	nodes, err := h.deps.Cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(nodes))
	for _, n := range nodes {
		var running, configured []string
		for _, p := range n.Parts {
			configured = append(configured, p.Name)
			if n.State != cluster.Down && p.State == cluster.Running {
				running = append(running, p.Name)
			}
		}
		health, desc := healths[n.State], n.State
		if n.Health != "" && health == 0 {
			health = 2
		}
		if n.Health != "" {
			desc = n.Health
		}
		if desc == cluster.Up {
			desc = "Healthy"
		}
		rows = append(rows, Row{"id": n.Name, "ip": n.IP, "hostname": n.Name, "service": strings.Join(running, ","), "configuredservice": strings.Join(configured, ","),
			"racktopo": "/data/default-rack/" + n.Name, "health": health, "healthDesc": desc, "version": n.Version, "leases": strings.Join(n.Leases, ","), "lag": n.Lag,
			"roles": strings.Join(n.Roles, ",")})
	}
	return rows, nil
}

// States of services.
var states = map[string]int{cluster.Off: 0, cluster.Running: 2, cluster.Failed: 4, cluster.Forwarding: 5}

func (h *Handler) services(ctx context.Context, flags url.Values) ([]Row, error) {
	nodes, err := h.deps.Cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	want := flags.Get("node")
	if want == "" || want == "localhost" {
		want = h.deps.Self
	}
	for _, n := range nodes {
		if n.Name != want && n.IP != want && n.Hostname != want {
			continue
		}
		rows := make([]Row, 0, len(n.Parts))
		for _, p := range n.Parts {
			state := states[p.State]
			if n.State == cluster.Down {
				state = states[cluster.Failed]
			}
			// The parts log together, to the standard error of the node.
			rows = append(rows, Row{"name": p.Name, "state": state, "logpath": "-", "displayname": displayed(p.Name), "memallocated": "Auto"})
		}
		return rows, nil
	}
	return nil, cluster.NoSuchNode.Field("node", "there is no node %q", want)
}

// displayed is a part's name as people read it.
func displayed(part string) string {
	words := map[string]string{"aws": "AWS APIs", "sql": "SQL", "kong-admin": "Kong Admin API"}
	if w, ok := words[part]; ok {
		return w
	}
	return strings.ToUpper(part[:1]) + part[1:]
}
