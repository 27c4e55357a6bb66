package awswire

import "sluice.dev/sluice/internal/base/fault"

// failure is what can go wrong in awswire itself, before or after an operation.
type failure uint8

const (
	noSignature     failure = iota + 1 // nothing says who calls
	malformedAuth                      // the Authorization header cannot be read
	foreignHost                        // the Host header is none of the node's
	oldSignature                       // Signature Version 2, which is not accepted
	postForm                           // an upload by an HTML form, which is not served
	malformedParams                    // the X-Amz- parameters of a presigned URL cannot be read
	wrongSignature
	unsignedHeader // a header that must be signed is not
	unknownKey
	wrongToken // the session token does not belong to the key
	expiredToken
	skewed         // signed too long ago, or in the future
	linkExpired    // a presigned URL past its time
	linkNotYet     // a presigned URL from the future
	unknownOp      // the request names no operation
	notServed      // the operation exists and is not served
	tooLarge       // the body is above the limit
	unreadable     // the body is not what the protocol prescribes
	mistyped       // a value is not of its member's type
	unsatisfied    // a value does not satisfy its member's constraints
	missingSum     // a checksum is required and absent
	malformedSum   // a checksum is not base64 of its length
	malformedMD5   // Content-MD5 is not
	wrongSum       // the content is not what the checksum says
	wrongHash      // the content is not what x-amz-content-sha256 says
	short          // the body ended before its announced length, or went beyond it
	noLength       // a streaming request does not say its length
	badFraming     // aws-chunked framing that cannot be read
	badTrailer     // a trailer that was not announced, or the lack of one that was
	unavailable    // the credentials cannot be looked up now
	broken         // a defect of ours
	unservedAccess // the operation has no row, or did not ask the authoriser
)

// family is the wording of errors, which several protocols share.
type family uint8

const (
	queryFamily family = iota
	ec2Family
	jsonFamily
	restJSONFamily
	s3Family
	families
)

func (p Protocol) family() family {
	switch p {
	case EC2:
		return ec2Family
	case JSON10, JSON11:
		return jsonFamily
	case RestJSON:
		return restJSONFamily
	case S3:
		return s3Family
	default:
		return queryFamily
	}
}

// wording is a code with its HTTP status.
type wording struct {
	code   string
	status int
}

// failureCodes says what each failure is called, as AWS answers it. A family without an entry of its own
// uses that of the first column.
var failureCodes = map[failure][families]wording{
	//               query                                              ec2                                     json                                                rest-json                                           s3
	noSignature:     {{"MissingAuthenticationToken", 403}, {"AuthFailure", 401}, {"MissingAuthenticationTokenException", 400}, {"MissingAuthenticationTokenException", 403}, {"AccessDenied", 403}},
	malformedAuth:   {{"IncompleteSignature", 400}, {"AuthFailure", 401}, {"IncompleteSignatureException", 400}, {"IncompleteSignatureException", 403}, {"AuthorizationHeaderMalformed", 400}},
	foreignHost:     {{"InvalidRequest", 421}, {}, {}, {}, {"InvalidRequest", 421}},
	oldSignature:    {{"IncompleteSignature", 400}, {"AuthFailure", 401}, {"IncompleteSignatureException", 400}, {"IncompleteSignatureException", 403}, {"InvalidRequest", 400}},
	postForm:        {{"MissingAuthenticationToken", 403}, {"AuthFailure", 401}, {"MissingAuthenticationTokenException", 400}, {"MissingAuthenticationTokenException", 403}, {"NotImplemented", 501}},
	malformedParams: {{"IncompleteSignature", 400}, {"AuthFailure", 401}, {"IncompleteSignatureException", 400}, {"IncompleteSignatureException", 403}, {"AuthorizationQueryParametersError", 400}},
	wrongSignature:  {{"SignatureDoesNotMatch", 403}, {"AuthFailure", 401}, {"InvalidSignatureException", 400}, {"InvalidSignatureException", 403}, {"SignatureDoesNotMatch", 403}},
	unsignedHeader:  {{"SignatureDoesNotMatch", 403}, {"AuthFailure", 401}, {"InvalidSignatureException", 400}, {"InvalidSignatureException", 403}, {"AccessDenied", 403}},
	unknownKey:      {{"InvalidClientTokenId", 403}, {"AuthFailure", 401}, {"UnrecognizedClientException", 400}, {"UnrecognizedClientException", 403}, {"InvalidAccessKeyId", 403}},
	wrongToken:      {{"InvalidClientTokenId", 403}, {"AuthFailure", 401}, {"UnrecognizedClientException", 400}, {"UnrecognizedClientException", 403}, {"InvalidToken", 400}},
	expiredToken:    {{"ExpiredToken", 403}, {"RequestExpired", 400}, {"ExpiredTokenException", 400}, {"ExpiredTokenException", 403}, {"ExpiredToken", 400}},
	skewed:          {{"SignatureDoesNotMatch", 403}, {"RequestExpired", 400}, {"InvalidSignatureException", 400}, {"InvalidSignatureException", 403}, {"RequestTimeTooSkewed", 403}},
	linkExpired:     {{"SignatureDoesNotMatch", 403}, {"RequestExpired", 400}, {"InvalidSignatureException", 400}, {"InvalidSignatureException", 403}, {"AccessDenied", 403}},
	linkNotYet:      {{"SignatureDoesNotMatch", 403}, {"RequestExpired", 400}, {"InvalidSignatureException", 400}, {"InvalidSignatureException", 403}, {"AccessDenied", 403}},
	unknownOp:       {{"InvalidAction", 400}, {}, {"UnknownOperationException", 400}, {"UnknownOperationException", 404}, {"MethodNotAllowed", 405}},
	notServed:       {{"InvalidAction", 400}, {}, {"UnknownOperationException", 400}, {"UnknownOperationException", 404}, {"NotImplemented", 501}},
	tooLarge:        {{"RequestEntityTooLarge", 413}, {}, {"RequestEntityTooLargeException", 413}, {"RequestTooLargeException", 413}, {"EntityTooLarge", 400}},
	unreadable:      {{"MalformedQueryString", 400}, {}, {"SerializationException", 400}, {"SerializationException", 400}, {"MalformedXML", 400}},
	mistyped:        {{"MalformedInput", 400}, {"InvalidParameterValue", 400}, {"SerializationException", 400}, {"SerializationException", 400}, {"InvalidArgument", 400}},
	unsatisfied:     {{"ValidationError", 400}, {"InvalidParameterValue", 400}, {"ValidationException", 400}, {"ValidationException", 400}, {"InvalidArgument", 400}},
	missingSum:      {{"InvalidRequest", 400}},
	malformedSum:    {{"InvalidRequest", 400}},
	malformedMD5:    {{"InvalidDigest", 400}},
	wrongSum:        {{"BadDigest", 400}},
	wrongHash:       {{"XAmzContentSHA256Mismatch", 400}},
	short:           {{"IncompleteBody", 400}},
	noLength:        {{"MissingContentLength", 411}},
	badFraming:      {{"IncompleteBody", 400}},
	badTrailer:      {{"MalformedTrailerError", 400}},
	unavailable:     {{"ServiceUnavailable", 503}, {}, {"ServiceUnavailableException", 503}, {"ServiceException", 503}},
	broken:          {{"InternalFailure", 500}, {"InternalError", 500}, {"InternalFailure", 500}, {"ServiceException", 500}, {"InternalError", 500}},
	unservedAccess:  {{"InternalFailure", 500}, {"InternalError", 500}, {"InternalFailure", 500}, {"ServiceException", 500}, {"InternalError", 500}},
}

// kindCodes says what a service's fault is called where its front has no own code for it.
var kindCodes = map[fault.Kind][families]wording{
	//                    query                                               ec2                                                  json                                                     rest-json                                                s3
	fault.Internal:        {{"InternalFailure", 500}, {"InternalError", 500}, {"InternalFailure", 500}, {"ServiceException", 500}, {"InternalError", 500}},
	fault.Invalid:         {{"ValidationError", 400}, {"InvalidParameterValue", 400}, {"ValidationException", 400}, {"ValidationException", 400}, {"InvalidArgument", 400}},
	fault.Unauthenticated: {{"InvalidClientTokenId", 403}, {"AuthFailure", 401}, {"UnrecognizedClientException", 400}, {"UnrecognizedClientException", 403}, {"AccessDenied", 403}},
	fault.Denied:          {{"AccessDenied", 403}, {"UnauthorizedOperation", 403}, {"AccessDeniedException", 400}, {"AccessDeniedException", 403}, {"AccessDenied", 403}},
	fault.NotFound:        {{"NoSuchEntity", 404}, {"InvalidParameterValue", 400}, {"ResourceNotFoundException", 400}, {"ResourceNotFoundException", 404}, {"NoSuchKey", 404}},
	fault.Exists:          {{"EntityAlreadyExists", 409}, {"InvalidParameterValue", 400}, {"ResourceInUseException", 400}, {"ResourceConflictException", 409}, {"OperationAborted", 409}},
	fault.Conflict:        {{"DeleteConflict", 409}, {"IncorrectState", 400}, {"ResourceInUseException", 400}, {"ResourceConflictException", 409}, {"OperationAborted", 409}},
	fault.Exhausted:       {{"LimitExceeded", 409}, {"RequestLimitExceeded", 400}, {"LimitExceededException", 400}, {"TooManyRequestsException", 429}, {"InvalidRequest", 400}},
	fault.Throttled:       {{"Throttling", 400}, {"RequestLimitExceeded", 503}, {"ThrottlingException", 400}, {"TooManyRequestsException", 429}, {"SlowDown", 503}},
	fault.Unavailable:     {{"ServiceUnavailable", 503}, {"Unavailable", 503}, {"ServiceUnavailableException", 503}, {"ServiceException", 503}, {"ServiceUnavailable", 503}},
	fault.Unsupported:     {{"InvalidAction", 400}, {"UnsupportedOperation", 400}, {"UnsupportedOperationException", 400}, {"UnsupportedOperationException", 400}, {"NotImplemented", 501}},
	fault.TooLarge:        {{"RequestEntityTooLarge", 413}, {"InvalidParameterValue", 400}, {"ValidationException", 400}, {"RequestTooLargeException", 413}, {"EntityTooLarge", 400}},
	fault.Corrupt:         {{"InternalFailure", 500}, {"InternalError", 500}, {"InternalFailure", 500}, {"ServiceException", 500}, {"InternalError", 500}},
	fault.Canceled:        {{"RequestExpired", 400}, {"RequestExpired", 400}, {"RequestAbortedException", 408}, {"RequestAbortedException", 408}, {"RequestTimeout", 400}},
}
