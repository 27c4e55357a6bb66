// The protocol vectors of AWS: github.com/aws/aws-sdk-go carries them in models/protocol_tests
// (Apache License 2.0). The tests of awswire read them from the module cache; nothing of
// that module is compiled or linked.
module sluice.dev/sluice/internal/api/aws/awswire/testdata/vectors

go 1.26.0

require github.com/aws/aws-sdk-go v1.55.8
