package iam_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/iam"
)

const account = "123456789012"

// open returns a service with a fresh store, and a context of its root.
func open(t testing.TB) (*iam.Service, context.Context) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "c.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the test is over
	index, err := kv.Open(kv.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() }) // the test is over
	svc, err := iam.New(iam.Config{Account: account}, iam.Deps{Store: s, Index: index,
		Clock: clock.Fixed(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return svc, caller.With(t.Context(), svc.Root("AKIAROOT"))
}

// as makes a user with a policy and returns a context of it.
func as(t testing.TB, s *iam.Service, root context.Context, user, policy string) context.Context {
	t.Helper()
	if _, err := s.CreateUser(root, user, "/"); err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if err := s.PutUserPolicy(root, user, "p", policy); err != nil {
			t.Fatal(err)
		}
	}
	k, err := s.CreateAccessKey(root, user)
	if err != nil {
		t.Fatal(err)
	}
	secret, id, err := s.Credential(root, k.ID)
	if err != nil || secret != k.Secret {
		t.Fatalf("the new key does not sign: %v", err)
	}
	return caller.WithRequest(caller.With(t.Context(), id), caller.Request{ID: "r", Region: "eu-west-1", SourceIP: "10.1.2.3"})
}

func TestPoliciesDecide(t *testing.T) {
	object := name.ARN{Service: "s3", Resource: "lake/logs/alice/1"}
	for _, c := range []struct {
		name, statements string
		action           name.Action
		resource         name.ARN
		attrs            []name.Attr
		want             bool
	}{
		{"nothing allows", `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}`, "s3:GetObject", object, nil, false},
		{"exact", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::lake/logs/alice/1"}`, "s3:GetObject", object, nil, true},
		{"another resource", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::lake/logs/bob/*"}`, "s3:GetObject", object, nil, false},
		{"actions without regard to case", `{"Effect":"Allow","Action":"S3:getobject","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"resources with regard to case", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::Lake/*"}`, "s3:GetObject", object, nil, false},
		{"star in the middle", `{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::*/alice/?"}`, "s3:GetObject", object, nil, true},
		{"question mark is one character", `{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::*/alice/??"}`, "s3:GetObject", object, nil, false},
		{"deny wins", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::lake/*"}`, "s3:GetObject", object, nil, false},
		{"deny of another", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"all but", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"all but this", `{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}`, "s3:GetObject", object, nil, false},
		{"all resources but this", `{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::lake/*"}`, "s3:GetObject", object, nil, false},
		{"variable", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::lake/logs/${aws:username}/*"}`, "s3:GetObject", object, nil, true},
		{"literal star", `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::lake/${*}"}`, "s3:GetObject", object, nil, false},
		{"condition holds", `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"s3:prefix":["logs/*","tmp/*"]}}}`,
			"s3:ListBucket", name.ARN{Service: "s3", Resource: "lake"}, []name.Attr{{Key: "s3:prefix", Values: []string{"logs/x"}}}, true},
		{"condition fails", `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"s3:prefix":"logs/*"}}}`,
			"s3:ListBucket", name.ARN{Service: "s3", Resource: "lake"}, []name.Attr{{Key: "s3:prefix", Values: []string{"etc/x"}}}, false},
		{"absent key fails a positive operator", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"x"}}}`, "s3:GetObject", object, nil, false},
		{"absent key holds a negated one", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"s3:prefix":"x"}}}`, "s3:GetObject", object, nil, true},
		{"absent key holds with IfExists", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"s3:prefix":"x"}}}`, "s3:GetObject", object, nil, true},
		{"null", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"s3:prefix":"true"}}}`, "s3:GetObject", object, nil, true},
		{"address inside", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`, "s3:GetObject", object, nil, true},
		{"address outside", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.168.0.0/16"}}}`, "s3:GetObject", object, nil, false},
		{"address not inside", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"192.168.0.0/16"}}}`, "s3:GetObject", object, nil, true},
		{"all conditions must hold", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"alice"},"IpAddress":{"aws:SourceIp":"192.168.0.0/16"}}}`, "s3:GetObject", object, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, root := open(t)
			alice := as(t, s, root, "alice", `{"Version":"2012-10-17","Statement":[`+c.statements+`]}`)
			err := s.Authorize(alice, c.action, c.resource, c.attrs...)
			if (err == nil) != c.want {
				t.Fatalf("allowed: %v (%v)", err == nil, err)
			}
			if err != nil && fault.KindOf(err) != fault.Denied {
				t.Fatalf("refused as %v", fault.KindOf(err))
			}
		})
	}
}

func TestWhoIsNobodyMayNothing(t *testing.T) {
	s, root := open(t)
	if err := s.Authorize(t.Context(), "s3:GetObject", name.Any); fault.KindOf(err) != fault.Denied {
		t.Errorf("without an identity: %v", err)
	}
	bob := as(t, s, root, "bob", "")
	if err := s.Authorize(bob, "s3:GetObject", name.Any); fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), "because no identity-based policy allows the s3:GetObject action") {
		t.Errorf("without a policy: %v", err)
	}
	if err := s.Authorize(root, "s3:GetObject", name.Any); err != nil {
		t.Errorf("root: %v", err)
	}
}

func TestPoliciesThatAreNotUnderstoodAreRefused(t *testing.T) {
	s, root := open(t)
	as(t, s, root, "alice", "")
	for _, doc := range []string{
		``, `{`, `[]`, `{"Statement":[]}`, `{"Version":"2012-10-17"}`,
		`{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"GetObject","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"lake"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"a":"b"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"here"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:nothing":"x"}}}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:PrincipalTag/team}/*"}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} more`,
	} {
		if err := s.PutUserPolicy(root, "alice", "p", doc); !iam.MalformedPolicy.Is(err) {
			t.Errorf("%s: %v, want MalformedPolicyDocument", doc, err)
		}
	}
	if names, err := s.UserPolicies(root, "alice"); err != nil || len(names) != 0 {
		t.Errorf("a refused policy was kept: %v %v", names, err)
	}
}

func TestKeysAndUsersLiveAndDie(t *testing.T) {
	s, root := open(t)
	alice := as(t, s, root, "Alice", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:*AccessKey*","Resource":"arn:aws:iam::*:user/${aws:username}"}}`)
	if _, err := s.CreateUser(root, "ALICE", "/"); !iam.EntityExists.Is(err) {
		t.Errorf("a name that differs in case only: %v", err)
	}
	second, err := s.CreateAccessKey(alice, "") // one's own
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateAccessKey(alice, ""); !iam.LimitExceeded.Is(err) {
		t.Errorf("a third key: %v", err)
	}
	if err := s.SetAccessKeyActive(alice, "", second.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Credential(root, second.ID); !iam.UnknownKey.Is(err) {
		t.Errorf("an inactive key: %v", err)
	}
	if err := s.DeleteUser(root, "Alice"); !iam.DeleteConflict.Is(err) {
		t.Errorf("a user with keys: %v", err)
	}
	keys, err := s.ListAccessKeys(root, "Alice")
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		if k.Secret != "" {
			t.Error("a listing tells a secret")
		}
		if err := s.DeleteAccessKey(root, "Alice", k.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteUser(root, "Alice"); !iam.DeleteConflict.Is(err) {
		t.Errorf("a user with a policy: %v", err)
	}
	if err := s.DeleteUserPolicy(root, "Alice", "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteUser(root, "Alice"); err != nil {
		t.Fatal(err)
	}
	if err := s.Authorize(alice, "iam:ListAccessKeys", name.Any); fault.KindOf(err) != fault.Denied {
		t.Errorf("a deleted user: %v", err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true}}}]}`)
	f.Add(`{"Statement":{"Effect":"Deny","NotAction":"a:b","NotResource":["arn:aws:s3:::${aws:username}*"]}}`)
	s, root := open(f)
	if _, err := s.CreateUser(root, "fuzz", "/"); err != nil {
		f.Fatal(err)
	}
	ctx := caller.With(f.Context(), caller.Identity{Account: account, ARN: "arn:aws:iam::" + account + ":user/fuzz", UserName: "fuzz"})
	f.Fuzz(func(t *testing.T, doc string) {
		if err := s.PutUserPolicy(root, "fuzz", "p", doc); err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Fatalf("an unclassified error: %v", err)
			}
			return
		}
		_ = s.Authorize(ctx, "s3:GetObject", name.ARN{Service: "s3", Resource: "b/k"}) // whatever it says, it must say it
	})
}
