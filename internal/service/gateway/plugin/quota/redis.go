package quota

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"sluice.dev/sluice/internal/service/gateway/plugin/redisserver"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Redis counts in a Redis server.
type Redis struct{ server *redisserver.Server }

// NewRedis returns a counter on the server that a record of redisserver.Field describes.
func NewRedis(c schema.Record) *Redis { return &Redis{redisserver.New(c)} }

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
	ctx, cancel := context.WithTimeout(ctx, r.server.Timeout)
	defer cancel()
	u := Usage{Full: -1}
	client, err := r.server.Client()
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
func (r *Redis) Close() { r.server.Close() }
