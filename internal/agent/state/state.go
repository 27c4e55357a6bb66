package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/segment"
)

// Faults of the data directory.
var (
	InUse   = &fault.Reason{Kind: fault.Conflict, Name: "DataDirectoryInUse"}
	Damaged = &fault.Reason{Kind: fault.Corrupt, Name: "DataDirectoryDamaged"}
)

// maxAcks wait for a server; the oldest are dropped where there would be more.
const maxAcks = 1000

// Dir is an open data directory.
type Dir struct {
	path string
	lock *os.File

	mu   sync.Mutex // of the acknowledgements
	last int
}

// Identity says who the agent is.
type Identity struct {
	ID    string `json:"agentId"`
	Class string `json:"agentClass,omitempty"`
	URL   string `json:"url,omitempty"` // of the node that enrolled it
}

// Applied is a flow with the id that the server knows it by.
type Applied struct {
	ID   string          `json:"flowId"`
	Flow json.RawMessage `json:"flow"`
}

// Open makes the directory if it is not there and locks it.
func Open(path string) (*Dir, error) {
	for _, d := range []string{"", "acks", "assets", "tls", "logs"} {
		if err := segment.MakeDir(filepath.Join(path, d)); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // nothing was written
		return nil, InUse.Wrap(err, "another agent runs in %s", path)
	}
	d := &Dir{path: path, lock: lock}
	pending, err := d.Acks()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if len(pending) > 0 {
		d.last = pending[len(pending)-1].Seq
	}
	return d, nil
}

// Close gives the directory free.
func (d *Dir) Close() error { return d.lock.Close() }

// Path is a file or directory of it.
func (d *Dir) Path(elem ...string) string { return filepath.Join(append([]string{d.path}, elem...)...) }

// Write replaces a file whole.
func (d *Dir) Write(name string, data []byte) error {
	to := d.Path(name)
	tmp, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return segment.SyncDir(filepath.Dir(to))
}

func (d *Dir) writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return d.Write(name, b)
}

// readJSON reads a file into v; false if there is none.
func (d *Dir) readJSON(name string, v any) (bool, error) {
	b, err := os.ReadFile(d.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, Damaged.Wrap(err, "%s cannot be read", d.Path(name))
	}
	return true, nil
}

// Identity is who the agent is: what it was, changed by what is asked for. An agent without
// an id mints one.
func (d *Dir) Identity(ask Identity) (Identity, error) {
	var have Identity
	if _, err := d.readJSON("identity.json", &have); err != nil {
		return have, err
	}
	want := have
	if ask.ID != "" {
		want.ID = ask.ID
	}
	if want.ID == "" {
		want.ID = uuid.NewString()
	}
	if ask.Class != "" {
		want.Class = ask.Class
	}
	if ask.URL != "" {
		want.URL = ask.URL
	}
	if want == have {
		return have, nil
	}
	return want, d.writeJSON("identity.json", want)
}

// Key is the key of the repository; it is made when it is first asked for.
func (d *Dir) Key() (key [32]byte, err error) {
	b, err := os.ReadFile(d.Path("key"))
	if errors.Is(err, fs.ErrNotExist) {
		_, _ = rand.Read(key[:]) // never fails
		return key, d.Write("key", []byte(hex.EncodeToString(key[:])+"\n"))
	}
	if err != nil {
		return key, err
	}
	n, err := hex.Decode(key[:], []byte(strings.TrimSpace(string(b[:min(len(b), 65)]))))
	if err != nil || n != len(key) {
		return key, Damaged.New("%s is not a key", d.Path("key"))
	}
	return key, nil
}

// Flow is the flow that was applied last; nil if there was none.
func (d *Dir) Flow() (*Applied, error) {
	a := &Applied{}
	ok, err := d.readJSON("flow.json", a)
	if !ok {
		return nil, err
	}
	return a, nil
}

// SetFlow keeps a flow that was applied.
func (d *Dir) SetFlow(a Applied) error { return d.writeJSON("flow.json", a) }

// Properties are the settings that the server changed.
func (d *Dir) Properties() (map[string]string, error) {
	out := map[string]string{}
	_, err := d.readJSON("properties.json", &out)
	return out, err
}

// SetProperties keeps them.
func (d *Dir) SetProperties(p map[string]string) error { return d.writeJSON("properties.json", p) }

// Resources is what SYNC brought, into v.
func (d *Dir) Resources(v any) error {
	_, err := d.readJSON("resources.json", v)
	return err
}

// SetResources keeps it.
func (d *Dir) SetResources(v any) error { return d.writeJSON("resources.json", v) }

// Ack is an acknowledgement that waits for a server.
type Ack struct {
	Seq  int
	Body []byte
}

func ackName(seq int) string { return filepath.Join("acks", fmt.Sprintf("%012d.json", seq)) }

// PutAck keeps an acknowledgement until DropAck.
func (d *Dir) PutAck(body []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.Write(ackName(d.last+1), body); err != nil {
		return err
	}
	d.last++
	old := d.last - maxAcks
	if old <= 0 {
		return nil
	}
	return d.DropAck(old)
}

// DropAck forgets one that a server has taken.
func (d *Dir) DropAck(seq int) error {
	if err := os.Remove(d.Path(ackName(seq))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Acks are those that wait, the oldest first.
func (d *Dir) Acks() ([]Ack, error) {
	entries, err := os.ReadDir(d.Path("acks"))
	if err != nil {
		return nil, err
	}
	var out []Ack
	for _, e := range entries {
		seq, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".json"))
		if err != nil {
			continue // a copy that a crash left
		}
		body, err := os.ReadFile(d.Path("acks", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Ack{Seq: seq, Body: body})
	}
	slices.SortFunc(out, func(a, b Ack) int { return a.Seq - b.Seq })
	return out, nil
}
