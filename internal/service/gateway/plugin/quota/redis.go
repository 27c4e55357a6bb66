package quota

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Redis counts in a Redis server.
type Redis struct {
	option  rueidis.ClientOption
	timeout time.Duration

	mu     sync.Mutex
	client rueidis.Client // nil until the server was reached for the first time
	failed time.Time      // when it was last tried in vain
	why    error
	closed bool
}

// RedisField describes a Redis server, as Kong's plugins do.
func RedisField() *schema.Field {
	return &schema.Field{Name: "redis", Kind: schema.Nested, Required: true, Description: "The Redis server of the policy redis.",
		Fields: []*schema.Field{
			{Name: "host", Kind: schema.String},
			{Name: "port", Kind: schema.Integer, Default: 6379, Between: []float64{0, 65535}},
			{Name: "timeout", Kind: schema.Integer, Default: 2000, Between: []float64{0, 2147483646}, Description: "Milliseconds for one call."},
			{Name: "username", Kind: schema.String, Referenceable: true},
			{Name: "password", Kind: schema.String, Referenceable: true, Encrypted: true, LenMin: schema.Ptr(0)},
			{Name: "database", Kind: schema.Integer, Default: 0},
			{Name: "ssl", Kind: schema.Boolean, Default: false},
			{Name: "ssl_verify", Kind: schema.Boolean, Default: false},
			{Name: "server_name", Kind: schema.String, Description: "Name that the server's certificate must have; its host."},
		}}
}

// FormerRedis are the names that fields of RedisField had before they were a record.
var FormerRedis = map[string]string{
	"redis_host": "redis.host", "redis_port": "redis.port", "redis_timeout": "redis.timeout", "redis_username": "redis.username",
	"redis_password": "redis.password", "redis_database": "redis.database", "redis_ssl": "redis.ssl",
	"redis_ssl_verify": "redis.ssl_verify", "redis_server_name": "redis.server_name",
}

// NewRedis returns a counter on the server that a record of RedisField describes. It
// connects when it is first asked: a server that is down is an error of the calls.
func NewRedis(c schema.Record) *Redis {
	text := func(name string) string { s, _ := c[name].(string); return s }
	number := func(name string) int { n, _ := c[name].(float64); return int(n) }
	o := rueidis.ClientOption{
		InitAddress: []string{net.JoinHostPort(text("host"), strconv.Itoa(number("port")))},
		Username:    text("username"), Password: text("password"), SelectDB: number("database"),
		DisableCache: true, ForceSingleClient: true,
	}
	timeout := time.Duration(number("timeout")) * time.Millisecond
	o.Dialer = net.Dialer{Timeout: timeout}
	if secure, _ := c["ssl"].(bool); secure {
		verify, _ := c["ssl_verify"].(bool)
		name := text("server_name")
		if name == "" {
			name = text("host")
		}
		o.TLSConfig = &tls.Config{ServerName: name, InsecureSkipVerify: !verify, MinVersion: tls.VersionTLS12}
	}
	return &Redis{option: o, timeout: timeout}
}

// tryAgain is how long a server that could not be reached is left alone: callers in the
// meantime are told so at once.
const tryAgain = time.Second

// connected returns the client. Once it has reached the server it connects again by itself.
func (r *Redis) connected() (rueidis.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.client != nil:
		return r.client, nil
	case r.closed:
		return nil, net.ErrClosed
	case r.why != nil && time.Since(r.failed) < tryAgain:
		return nil, r.why
	}
	client, err := rueidis.NewClient(r.option)
	if err != nil {
		r.failed, r.why = time.Now(), err
		return nil, err
	}
	r.client = client
	return client, nil
}

// script counts in one step what no two callers may count at once. Keys are the windows;
// arguments are n, 1 to count in any case, and for each window its limit and its end.
// It answers the counts and, last, which window had no room, from 1.
var script = rueidis.NewLuaScript(`
local n, force, full, counts = tonumber(ARGV[1]), ARGV[2] == '1', 0, {}
for i, key in ipairs(KEYS) do
	counts[i] = tonumber(redis.call('GET', key) or '0')
	if counts[i] + n > tonumber(ARGV[2*i+1]) then full = i end
end
if (full == 0 or force) and n > 0 then
	for i, key in ipairs(KEYS) do
		counts[i] = redis.call('INCRBY', key, n)
		redis.call('EXPIREAT', key, ARGV[2*i+2])
	end
end
counts[#counts+1] = full
return counts`)

// Take implements Counter.
func (r *Redis) Take(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	return r.count(ctx, s, l, n, "0", now)
}

// Add implements Counter.
func (r *Redis) Add(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	return r.count(ctx, s, l, n, "1", now)
}

func (r *Redis) count(ctx context.Context, s Subject, l *Limits, n int64, force string, now time.Time) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	u := Usage{Full: -1}
	client, err := r.connected()
	if err != nil {
		return u, err
	}
	keys, args := make([]string, 0, Periods), []string{strconv.FormatInt(n, 10), force}
	for p := range Periods {
		if l[p] == 0 {
			continue
		}
		start, end := p.Window(now)
		u.Reset[p] = max(end-now.Unix(), 1)
		// The braces keep a subject's keys in one slot of a Redis cluster.
		keys = append(keys, "ratelimit:{"+s.Plugin+":"+s.Who+"}:"+Names[p]+":"+strconv.FormatInt(start, 10))
		args = append(args, strconv.FormatInt(l[p], 10), strconv.FormatInt(end+1, 10))
	}
	counts, err := script.Exec(ctx, client, keys, args).AsIntSlice()
	if err != nil {
		return u, err
	}
	full, i := counts[len(counts)-1], int64(0)
	for p := range Periods {
		if l[p] == 0 {
			continue
		}
		u.Left[p] = max(l[p]-counts[i], 0)
		if i++; i == full {
			u.Full = p
		}
	}
	return u, nil
}

// Close implements Counter.
func (r *Redis) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed = true; r.client != nil {
		r.client.Close()
	}
}
