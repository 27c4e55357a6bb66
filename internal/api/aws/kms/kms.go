package kms

import (
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/page"
	"sluice.dev/sluice/internal/service/kms"
)

type front struct {
	kms    *kms.Service
	tokens *page.Tokens
}

var _ Operations = front{}

// New returns the API over s.
func New(s *kms.Service, tokens *page.Tokens) awswire.Service {
	svc := Service(front{s, tokens})
	svc.Resources, svc.Codes = resources, codes
	return svc
}

var resources = map[string][]name.Action{
	"CreateAlias":                     {"kms:CreateAlias"},
	"CreateKey":                       {"kms:CreateKey"},
	"Decrypt":                         {"kms:Decrypt"},
	"DeleteAlias":                     {"kms:DeleteAlias"},
	"DescribeKey":                     {"kms:DescribeKey"},
	"DisableKey":                      {"kms:DisableKey"},
	"EnableKey":                       {"kms:EnableKey"},
	"Encrypt":                         {"kms:Encrypt"},
	"GenerateDataKey":                 {"kms:GenerateDataKey"},
	"GenerateDataKeyWithoutPlaintext": {"kms:GenerateDataKeyWithoutPlaintext"},
	"ListAliases":                     {"kms:ListAliases"},
	"ListKeys":                        {"kms:ListKeys"},
}

var codes = map[*fault.Reason]awswire.Code{
	kms.NoKey:             {Code: "NotFoundException", Status: 400},
	kms.KeyDisabled:       {Code: "DisabledException", Status: 400},
	kms.InvalidCiphertext: {Code: "InvalidCiphertextException", Status: 400},
	kms.IncorrectKey:      {Code: "IncorrectKeyException", Status: 400},
	kms.InvalidArgument:   {Code: "ValidationException", Status: 400},
	kms.InvalidAlias:      {Code: "InvalidAliasNameException", Status: 400},
	kms.AliasExists:       {Code: "AlreadyExistsException", Status: 400},
	kms.ManagedKey:        {Code: "UnsupportedOperationException", Status: 400},
	page.BadToken:         {Code: "InvalidMarkerException", Status: 400},
}

func value(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}
