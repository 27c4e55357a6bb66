package iam_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/iam"
)

func arn(t testing.TB, s string) name.ARN {
	t.Helper()
	a, err := name.ParseARN(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEvaluation(t *testing.T) {
	s, root := open(t)
	ctx := as(t, s, root, "alice", "")
	const object = "arn:aws:s3:::bucket/dir/file"
	allow := func(action, resource, more string) string {
		return fmt.Sprintf(`{"Effect":"Allow","Action":%s,"Resource":%s%s}`, action, resource, more)
	}
	condition := func(c string) string { return allow(`"*"`, `"*"`, `,"Condition":`+c) }
	for _, c := range []struct {
		name       string
		statements string
		action     name.Action
		resource   string
		attrs      []name.Attr
		want       bool
	}{
		{"nothing", ``, "s3:GetObject", object, nil, false},
		{"the very action", allow(`"s3:GetObject"`, `"*"`, ""), "s3:GetObject", object, nil, true},
		{"another action", allow(`"s3:GetObject"`, `"*"`, ""), "s3:PutObject", object, nil, false},
		{"actions have no case", allow(`"S3:gEToBJECT"`, `"*"`, ""), "s3:GetObject", object, nil, true},
		{"a list", allow(`["s3:Put*","s3:Get*"]`, `"*"`, ""), "s3:GetObject", object, nil, true},
		{"a question mark", allow(`"s3:?etObject"`, `"*"`, ""), "s3:GetObject", object, nil, true},
		{"a question mark is one", allow(`"s3:?GetObject"`, `"*"`, ""), "s3:GetObject", object, nil, false},
		{"a star in the middle", allow(`"s3:*Object"`, `"*"`, ""), "s3:GetObject", object, nil, true},
		{"not to the end", allow(`"s3:Get"`, `"*"`, ""), "s3:GetObject", object, nil, false},
		{"another service", allow(`"kms:*"`, `"*"`, ""), "s3:GetObject", object, nil, false},
		{"the very resource", allow(`"*"`, `"`+object+`"`, ""), "s3:GetObject", object, nil, true},
		{"resources have case", allow(`"*"`, `"arn:aws:s3:::bucket/DIR/file"`, ""), "s3:GetObject", object, nil, false},
		{"resources by pattern", allow(`"*"`, `"arn:aws:s3:::bucket/*/f?le"`, ""), "s3:GetObject", object, nil, true},
		{"the bucket is not its objects", allow(`"*"`, `"arn:aws:s3:::bucket"`, ""), "s3:GetObject", object, nil, false},
		{"NotAction", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"NotAction names it", `{"Effect":"Allow","NotAction":["iam:*","s3:Get*"],"Resource":"*"}`, "s3:GetObject", object, nil, false},
		{"NotResource", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::other/*"}`, "s3:GetObject", object, nil, true},
		{"NotResource names it", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::bucket/*"}`, "s3:GetObject", object, nil, false},
		{"deny behind", allow(`"*"`, `"*"`, "") + `,{"Effect":"Deny","Action":"s3:Get*","Resource":"*"}`, "s3:GetObject", object, nil, false},
		{"deny in front", `{"Effect":"Deny","Action":"s3:Get*","Resource":"*"},` + allow(`"*"`, `"*"`, ""), "s3:GetObject", object, nil, false},
		{"deny of another", allow(`"*"`, `"*"`, "") + `,{"Effect":"Deny","Action":"s3:Put*","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"deny all but", allow(`"*"`, `"*"`, "") + `,{"Effect":"Deny","NotAction":"s3:GetObject","Resource":"*"}`, "s3:GetObject", object, nil, true},
		{"a variable", allow(`"*"`, `"arn:aws:s3:::home/${aws:username}/*"`, ""), "s3:GetObject", "arn:aws:s3:::home/alice/x", nil, true},
		{"a variable of another", allow(`"*"`, `"arn:aws:s3:::home/${aws:username}/*"`, ""), "s3:GetObject", "arn:aws:s3:::home/bob/x", nil, false},
		{"a literal star", allow(`"*"`, `"arn:aws:s3:::bucket/${*}"`, ""), "s3:GetObject", "arn:aws:s3:::bucket/*", nil, true},
		{"a literal star only", allow(`"*"`, `"arn:aws:s3:::bucket/${*}"`, ""), "s3:GetObject", "arn:aws:s3:::bucket/x", nil, false},
		{"StringEquals", condition(`{"StringEquals":{"aws:username":["bob","alice"]}}`), "s3:GetObject", object, nil, true},
		{"StringEquals has case", condition(`{"StringEquals":{"aws:username":"Alice"}}`), "s3:GetObject", object, nil, false},
		{"StringEqualsIgnoreCase", condition(`{"StringEqualsIgnoreCase":{"aws:username":"Alice"}}`), "s3:GetObject", object, nil, true},
		{"StringNotEquals", condition(`{"StringNotEquals":{"aws:username":["bob","alice"]}}`), "s3:GetObject", object, nil, false},
		{"StringNotEquals of none", condition(`{"StringNotEquals":{"s3:prefix":"x"}}`), "s3:GetObject", object, nil, true},
		{"StringLike", condition(`{"StringLike":{"s3:prefix":"a/*"}}`), "s3:ListBucket", "arn:aws:s3:::bucket", []name.Attr{{Key: "s3:prefix", Values: []string{"a/b"}}}, true},
		{"StringLike of none", condition(`{"StringLike":{"s3:prefix":"*"}}`), "s3:GetObject", object, nil, false},
		{"IfExists", condition(`{"StringLikeIfExists":{"s3:prefix":"a/*"}}`), "s3:GetObject", object, nil, true},
		{"IfExists, and it does", condition(`{"StringLikeIfExists":{"s3:prefix":"a/*"}}`), "s3:ListBucket", object, []name.Attr{{Key: "s3:prefix", Values: []string{"b"}}}, false},
		{"Null", condition(`{"Null":{"s3:prefix":"true"}}`), "s3:GetObject", object, nil, true},
		{"not Null", condition(`{"Null":{"s3:prefix":false}}`), "s3:GetObject", object, nil, false},
		{"two conditions", condition(`{"StringEquals":{"aws:username":"alice","aws:requestedregion":"us-east-1"}}`), "s3:GetObject", object, nil, false},
		{"IpAddress", condition(`{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.0.0/16"]}}`), "s3:GetObject", object, nil, true},
		{"IpAddress elsewhere", condition(`{"IpAddress":{"aws:SourceIp":"10.2.0.0/16"}}`), "s3:GetObject", object, nil, false},
		{"NotIpAddress", condition(`{"NotIpAddress":{"aws:SourceIp":"10.1.2.3"}}`), "s3:GetObject", object, nil, false},
		{"ArnLike", condition(`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/al*"}}`), "s3:GetObject", object, nil, true},
		{"ArnNotLike", condition(`{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/al*"}}`), "s3:GetObject", object, nil, false},
		{"a denying condition that holds", allow(`"*"`, `"*"`, "") + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.9.0.0/16"}}}`, "s3:GetObject", object, nil, false},
	} {
		if c.statements == "" {
			c.statements = `{"Effect":"Allow","Action":"none:None","Resource":"*"}`
		}
		document := `{"Version":"2012-10-17","Statement":[` + c.statements + `]}`
		if err := s.PutUserPolicy(root, "alice", "p", document); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err := s.Authorize(ctx, c.action, arn(t, c.resource), c.attrs...)
		if (err == nil) != c.want || err != nil && !iam.AccessDenied.Is(err) {
			t.Errorf("%s: %v, want allowed %v", c.name, err, c.want)
		}
	}
	// In the old version variables are text.
	old := `{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:username}/*"}}`
	if err := s.PutUserPolicy(root, "alice", "p", old); err != nil {
		t.Fatal(err)
	}
	if err := s.Authorize(ctx, "s3:GetObject", arn(t, "arn:aws:s3:::home/alice/x")); err == nil {
		t.Error("a variable counted in a policy of 2008")
	}
}

func TestPoliciesAreTakenWholeOrRefused(t *testing.T) {
	s, root := open(t)
	as(t, s, root, "alice", "")
	for _, document := range []string{
		``, `[]`, `null`, `{}`, `{"Statement":[]}`, `{"Statement":null}`, `{"Statement":[null]}`, `{"Statement":"x"}`,
		`{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","NotResource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"GetObject","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"bucket"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Unknown":1}}`,
		`{"Statement":{"Effect":"Allow","Action":[1],"Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} and more`,
		`{"Statement":{"Effect":"Deny","effect":"Allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"a"},"StringEquals":{"aws:userid":"b"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:username":"a"}}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":false}}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":{}}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"nowhere"}}}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:unknown}"}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username"}}`,
	} {
		if err := s.PutUserPolicy(root, "alice", "p", document); !iam.MalformedPolicy.Is(err) {
			t.Errorf("%s: %v, want a refusal", document, err)
		}
	}
	long := `{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 2048) + `"}}`
	if err := s.PutUserPolicy(root, "alice", "p", long); !iam.LimitExceeded.Is(err) {
		t.Errorf("a policy of more than 2048 characters: %v", err)
	}
	if err := s.PutUserPolicy(root, "alice", strings.Repeat("x", 100)+"/", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`); !iam.InvalidInput.Is(err) {
		t.Errorf("a slash behind a hundred good characters of a name: %v", err)
	}
}

func TestRightsEndWithTheUser(t *testing.T) {
	s, root := open(t)
	all := `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	ctx := as(t, s, root, "alice", "")
	if err := s.PutUserPolicy(root, "alice", "p", all); err != nil {
		t.Fatal(err)
	}
	if err := s.Authorize(ctx, "s3:GetObject", name.Any); err != nil {
		t.Fatal(err)
	}
	if err := s.Authorize(context.Background(), "s3:GetObject", name.Any); fault.KindOf(err) != fault.Denied {
		t.Errorf("without an identity: %v", err)
	}
	keys, err := s.ListAccessKeys(root, "alice")
	if err != nil || len(keys) != 1 || keys[0].Secret != "" {
		t.Fatalf("%+v, %v", keys, err)
	}
	if err := s.DeleteUser(root, "alice"); !iam.DeleteConflict.Is(err) {
		t.Errorf("deleting a user with keys: %v", err)
	}
	if err := s.SetAccessKeyActive(root, "alice", keys[0].ID, false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Credential(root, keys[0].ID); !iam.UnknownKey.Is(err) {
		t.Errorf("an inactive key: %v", err)
	}
	for _, step := range []error{s.DeleteAccessKey(root, "alice", keys[0].ID), s.DeleteUserPolicy(root, "alice", "p"), s.DeleteUser(root, "alice")} {
		if step != nil {
			t.Fatal(step)
		}
	}
	as(t, s, root, "Alice", "") // another one
	if err := s.PutUserPolicy(root, "alice", "p", all); err != nil {
		t.Fatal(err)
	}
	if err := s.Authorize(ctx, "s3:GetObject", name.Any); !iam.AccessDenied.Is(err) {
		t.Errorf("a session of the user that was deleted: %v", err)
	}
}
