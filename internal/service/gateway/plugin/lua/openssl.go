package lua

import (
	"crypto/sha1" // #nosec: a digest that code asks for by name
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

// What of resty.openssl code needs to look at certificates and to verify them.

func (s *state) object(v any, methods map[string]glua.LGFunction) *glua.LUserData {
	u := s.L.NewUserData()
	u.Value = v
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.functions(methods))
	meta.RawSetString("__metatable", glua.LFalse)
	u.Metatable = meta
	return u
}

func objectOf[T any](L *glua.LState, n int) T {
	v, ok := L.CheckUserData(n).Value.(T)
	if !ok {
		L.ArgError(n, "another kind of object expected")
	}
	return v
}

func (s *state) x509Module() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int {
		block, _ := pem.Decode([]byte(L.CheckString(1)))
		if block == nil || block.Type != "CERTIFICATE" {
			return fail(L, errors.New("x509.new: not a certificate in PEM"))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fail(L, err)
		}
		L.Push(s.certificate(c))
		return 1
	}}))
}

func (s *state) certificate(c *x509.Certificate) *glua.LUserData {
	name := func(text string) glua.LGFunction {
		return func(L *glua.LState) int {
			L.Push(s.object(text, map[string]glua.LGFunction{
				"tostring": func(L *glua.LState) int { return pushText(L, text) },
			}))
			return 1
		}
	}
	number := func(n int64) glua.LGFunction { return func(L *glua.LState) int { L.Push(glua.LNumber(n)); return 1 } }
	return s.object(c, map[string]glua.LGFunction{
		"get_subject_name": name(c.Subject.String()),
		"get_issuer_name":  name(c.Issuer.String()),
		"get_not_before":   number(c.NotBefore.Unix()),
		"get_not_after":    number(c.NotAfter.Unix()),
		"get_serial_number": func(L *glua.LState) int {
			return pushText(L, strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes())))
		},
		"to_PEM":   func(L *glua.LState) int { return pushText(L, pemOf(c)) },
		"tostring": func(L *glua.LState) int { return pushText(L, pemOf(c)) },
		"digest": func(L *glua.LState) int {
			switch L.OptString(2, "sha1") {
			case "sha256":
				sum := sha256.Sum256(c.Raw)
				return pushText(L, string(sum[:]))
			case "sha1":
				sum := sha1.Sum(c.Raw)
				return pushText(L, string(sum[:]))
			}
			return fail(L, errors.New("x509:digest: the digest is not served"))
		},
	})
}

// trust is a store of authorities.
type trust struct{ pool *x509.CertPool }

func (s *state) storeModule() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int {
		L.Push(s.object(&trust{x509.NewCertPool()}, map[string]glua.LGFunction{
			"add": func(L *glua.LState) int {
				objectOf[*trust](L, 1).pool.AddCert(objectOf[*x509.Certificate](L, 2))
				L.Push(glua.LTrue)
				return 1
			},
			"verify": s.verify,
		}))
		return 1
	}}))
}

// verify is store:verify(certificate, chain): the chain found, or nil and why there is none.
func (s *state) verify(L *glua.LState) int {
	opts := x509.VerifyOptions{Roots: objectOf[*trust](L, 1).pool, Intermediates: x509.NewCertPool(), CurrentTime: s.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	leaf := objectOf[*x509.Certificate](L, 2)
	if L.Get(3) != glua.LNil {
		for _, c := range *objectOf[*[]*x509.Certificate](L, 3) {
			opts.Intermediates.AddCert(c)
		}
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return fail(L, err)
	}
	L.Push(s.chain(chains[0]))
	return 1
}

func (s *state) chainModule() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{"new": func(L *glua.LState) int { L.Push(s.chain(nil)); return 1 }}))
}

func (s *state) chain(certs []*x509.Certificate) *glua.LUserData {
	return s.object(&certs, map[string]glua.LGFunction{
		"add": func(L *glua.LState) int {
			list := objectOf[*[]*x509.Certificate](L, 1)
			*list = append(*list, objectOf[*x509.Certificate](L, 2))
			L.Push(glua.LTrue)
			return 1
		},
		"count": func(L *glua.LState) int { L.Push(glua.LNumber(len(*objectOf[*[]*x509.Certificate](L, 1)))); return 1 },
	})
}
