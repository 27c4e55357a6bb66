package warehouse

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse/pgtext"
)

// settings are a session's parameters.
type settings struct {
	timeZone   string
	searchPath []string
	timeout    time.Duration
	usual      time.Duration     // the time-out of a session that sets none
	values     map[string]string // every known parameter as SHOW tells it
}

// ServerVersion is the PostgreSQL version sessions are told. psql and drivers write their
// catalogue queries by it: Redshift's 8.0.2 is older than psql 15 still knows, and with
// 10 or later psql asks for partitions, publications and extended statistics, which are
// not here. Drivers take no feature from a later version that we would have.
const ServerVersion = "9.6.24"

// defaults are the parameters clients set or ask for, and what they start as.
var defaults = map[string]string{
	"application_name":                    "",
	"bytea_output":                        "hex",
	"client_encoding":                     "UTF8",
	"client_min_messages":                 "notice",
	"datestyle":                           "ISO, MDY",
	"default_transaction_isolation":       "read committed",
	"default_transaction_read_only":       "off",
	"enable_result_cache_for_session":     "off",
	"extra_float_digits":                  "1",
	"idle_in_transaction_session_timeout": "0",
	"integer_datetimes":                   "on",
	"intervalstyle":                       "postgres",
	"is_superuser":                        "off",
	"lock_timeout":                        "0",
	"max_identifier_length":               strconv.Itoa(maxName),
	"query_group":                         "",
	"search_path":                         "public",
	"server_encoding":                     "UTF8",
	"server_version":                      ServerVersion,
	"server_version_num":                  "90624",
	"session_authorization":               "",
	"standard_conforming_strings":         "on",
	"statement_timeout":                   "0",
	"timezone":                            "UTC",
	"transaction_isolation":               "read committed",
	"transaction_read_only":               "off",
}

// fixed are the parameters whose only value is their default.
var fixed = []string{
	"bytea_output", "default_transaction_read_only", "integer_datetimes", "intervalstyle", "is_superuser", "max_identifier_length",
	"server_encoding", "server_version", "server_version_num", "session_authorization", "standard_conforming_strings",
	"transaction_read_only",
}

func newSettings(id caller.Identity, timeout time.Duration) settings {
	s := settings{timeZone: "UTC", searchPath: []string{publicSchema}, values: maps.Clone(defaults), timeout: timeout, usual: timeout}
	s.values["statement_timeout"] = durationText(timeout)
	s.values["session_authorization"] = userName(id)
	return s
}

// userName is what current_user answers.
func userName(id caller.Identity) string {
	if id.UserName != "" {
		return id.UserName
	}
	if id.Root {
		return "root"
	}
	return id.ARN[strings.LastIndexByte(id.ARN, '/')+1:]
}

// set changes one parameter; nil brings back its default.
func (s *settings) set(name string, value *string) error {
	name = strings.ToLower(name)
	initial, known := defaults[name]
	if !known {
		return UndefinedObject.new("unrecognized configuration parameter \"%s\"", name)
	}
	v := initial
	if name == "statement_timeout" {
		v = durationText(s.usual)
	}
	if value != nil {
		v = *value
	}
	if slices.Contains(fixed, name) {
		if !sameSetting(v, s.values[name]) && value != nil {
			return InvalidParameterValue.new("parameter \"%s\" cannot be changed to \"%s\"", name, v)
		}
		return nil
	}
	switch name {
	case "client_encoding":
		// Drivers that build a command line quote the value, which PostgreSQL takes off again.
		v = strings.Trim(v, `'"`)
		if u := strings.ReplaceAll(strings.ToUpper(v), "-", ""); u != "UTF8" && u != "UNICODE" {
			return FeatureNotSupported.new("the encoding \"%s\" is not supported", v).hint("Use UTF8.")
		}
		v = "UTF8"
	case "datestyle":
		if !strings.HasPrefix(strings.ToUpper(v), "ISO") {
			return FeatureNotSupported.new("the date style \"%s\" is not supported", v).hint("Use ISO.")
		}
		v = "ISO, MDY"
	case "transaction_isolation", "default_transaction_isolation":
		if v = strings.ToLower(v); v != "read committed" && v != "read uncommitted" {
			return noIsolation(v)
		}
		v = initial // PostgreSQL gives READ COMMITTED for both
	case "timezone":
		zone, err := time.LoadLocation(v)
		if err != nil || v == "" || v == "Local" {
			return InvalidParameterValue.new("invalid value for parameter \"TimeZone\": \"%s\"", v)
		}
		v, s.timeZone = zone.String(), zone.String()
	case "statement_timeout":
		d, err := duration(v)
		if err != nil {
			return err
		}
		s.timeout = d
		v = durationText(d)
	case "search_path":
		var path []string
		for part := range strings.SplitSeq(v, ",") {
			part = strings.ToLower(strings.Trim(strings.TrimSpace(part), `"`))
			if part != "" && part != "$user" && part != "pg_catalog" && !slices.Contains(path, part) {
				path = append(path, part)
			}
		}
		if len(path) == 0 {
			path = []string{publicSchema}
		}
		if len(path) > 64 {
			return ProgramLimitExceeded.new("search_path has more than 64 schemas")
		}
		s.searchPath = path
	}
	if len(v) > 4096 {
		return ProgramLimitExceeded.new("the value of \"%s\" is longer than 4096 bytes", name)
	}
	s.values[name] = v
	return nil
}

func sameSetting(a, b string) bool {
	truth := map[string]string{"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}
	fold := func(s string) string {
		s = strings.ToLower(s)
		if t, ok := truth[s]; ok {
			return t
		}
		return s
	}
	return fold(a) == fold(b)
}

// durationText writes a time-out as PostgreSQL shows it.
func durationText(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// duration reads a number of milliseconds or one with a unit.
func duration(v string) (time.Duration, error) {
	if ms, err := strconv.ParseInt(v, 10, 32); err == nil && ms >= 0 {
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(strings.ReplaceAll(strings.ReplaceAll(v, "min", "m"), " ", ""))
	if err != nil || d < 0 {
		return 0, InvalidParameterValue.new("invalid value for a time-out: \"%s\"", v)
	}
	return d, nil
}

// reader reads constants in the session's time zone.
func (s *Session) reader() pgtext.Reader {
	zone, err := time.LoadLocation(s.settings.timeZone)
	if err != nil { // it was looked up when it was set
		zone = time.UTC
	}
	return pgtext.Reader{Zone: zone, Now: s.svc.clock.Now}
}

// Parameter returns a setting of the session.
func (s *Session) Parameter(name string) string { return s.settings.values[strings.ToLower(name)] }

// SetProcess says by which number the session's client knows it.
func (s *Session) SetProcess(id uint32) { s.process = id }

// SetParameter changes a setting of the session, as SET does.
func (s *Session) SetParameter(name, value string) error { return s.settings.set(name, &value) }
