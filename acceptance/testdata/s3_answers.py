"""What S3's clients rely on beyond the common calls. Prints "done" if all of it was as AWS has it."""
import datetime
import http.client
import sys
import urllib.parse

import boto3
import botocore.exceptions
from botocore.client import Config

endpoint = sys.argv[1]
host = urllib.parse.urlparse(endpoint).netloc
s3 = boto3.client('s3', endpoint_url=endpoint)


def fails(code, call, **args):
    try:
        call(**args)
    except botocore.exceptions.ClientError as e:
        assert e.response['Error']['Code'] == code, (e.response, code)
        return e.response
    raise AssertionError('%s succeeded, want %s' % (call, code))


def raw(method, path, headers={}):
    c = http.client.HTTPConnection(host)
    c.request(method, path, headers=headers)
    r = c.getresponse()
    return r.status, r.read().decode()


s3.create_bucket(Bucket='box')

# DeleteObjects: each entry's conditions hold for that entry alone.
for k in 'abcdef':
    s3.put_object(Bucket='box', Key=k, Body=b'12')
head = s3.head_object(Bucket='box', Key='a')
past = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
r = s3.delete_objects(Bucket='box', Delete={'Objects': [
    {'Key': 'a', 'ETag': head['ETag'], 'Size': 2, 'LastModifiedTime': head['LastModified']},
    {'Key': 'b', 'ETag': '"00"'}, {'Key': 'c', 'Size': 3}, {'Key': 'd', 'LastModifiedTime': past},
    {'Key': 'e', 'VersionId': 'null'}, {'Key': 'f', 'VersionId': 'other'}]})
assert [d['Key'] for d in r['Deleted']] == ['a', 'e'], r
assert [(e['Key'], e['Code']) for e in r['Errors']] == [('b', 'PreconditionFailed'), ('c', 'PreconditionFailed'), ('d', 'PreconditionFailed'), ('f', 'NoSuchVersion')], r
r = s3.delete_objects(Bucket='box', Delete={'Objects': [{'Key': 'b', 'VersionId': 'x'}, {'Key': 'c', 'VersionId': 'y'}]})
assert len(r['Errors']) == 2 and 'Deleted' not in r, r
fails('PreconditionFailed', s3.delete_object, Bucket='box', Key='b', IfMatch='"00"')
fails('NoSuchKey', s3.delete_object, Bucket='box', Key='none', IfMatch='*')
s3.delete_object(Bucket='box', Key='b', IfMatch='*')
assert s3.get_object(Bucket='box', Key='c', VersionId='null')['Body'].read() == b'12'

# Listings encode all that XML cannot carry, and leave the slash.
s3.create_bucket(Bucket='names')
for k in ('foo+1/bar', 'quux ab/thud', 'asdf+b', 'a*b(c)'):
    s3.put_object(Bucket='names', Key=k)

v4 = boto3.client('s3', endpoint_url=endpoint, config=Config(signature_version='s3v4'))
url = v4.generate_presigned_url('list_objects_v2', Params=dict(Bucket='names', EncodingType='url', Delimiter='/', Prefix=''))
status, body = raw('GET', url[len(endpoint):])
assert status == 200, body
for want in ('<Delimiter>/</Delimiter>', '<Prefix>foo%2B1/</Prefix>', '<Prefix>quux%20ab/</Prefix>', '<Key>asdf%2Bb</Key>', '<Key>a%2Ab%28c%29</Key>'):
    assert want in body, (want, body)

# A completed upload can be completed again: the answer may have been lost.
u = s3.create_multipart_upload(Bucket='box', Key='big')['UploadId']
part = s3.upload_part(Bucket='box', Key='big', UploadId=u, PartNumber=1, Body=b'part')['ETag']
parts = {'Parts': [{'PartNumber': 1, 'ETag': part}]}
fails('MalformedXML', s3.complete_multipart_upload, Bucket='box', Key='big', UploadId=u, MultipartUpload={'Parts': []})
once = s3.complete_multipart_upload(Bucket='box', Key='big', UploadId=u, MultipartUpload=parts)
again = s3.complete_multipart_upload(Bucket='box', Key='big', UploadId=u, MultipartUpload=parts)
assert once['ETag'] == again['ETag'] and once['Location'] == again['Location'] == endpoint + '/box/big', (once, again)
fails('NoSuchUpload', s3.complete_multipart_upload, Bucket='box', Key='c', UploadId=u, MultipartUpload=parts)
fails('NoSuchUpload', s3.abort_multipart_upload, Bucket='box', Key='big', UploadId=u)
s3.put_object(Bucket='box', Key='big', Body=b'other')
fails('NoSuchUpload', s3.complete_multipart_upload, Bucket='box', Key='big', UploadId=u, MultipartUpload=parts)

# Signature Version 2 is refused with what to use instead.
old = boto3.client('s3', endpoint_url=endpoint, config=Config(signature_version='s3'))
status, body = raw('GET', old.generate_presigned_url('get_object', Params={'Bucket': 'box', 'Key': 'c'})[len(endpoint):])
assert status == 400 and '<Code>InvalidRequest</Code>' in body and 'AWS4-HMAC-SHA256' in body and 's3v4' in body, body
status, body = raw('GET', '/box/c', {'Authorization': 'AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg='})
assert status == 400 and 'AWS4-HMAC-SHA256' in body, body
status, body = raw('POST', '/box', {'Content-Type': 'multipart/form-data; boundary=x'})
assert status == 501 and '<Code>NotImplemented</Code>' in body and 'AWS4-HMAC-SHA256' in body, body

# A copy onto itself has to change something.
same = dict(Bucket='box', Key='c', CopySource='box/c')
fails('InvalidRequest', s3.copy_object, **same)
s3.copy_object(MetadataDirective='REPLACE', Metadata={'a': 'b'}, **same)
s3.copy_object(ServerSideEncryption='AES256', **same)

# Error documents name the bucket, the key, the upload.
assert fails('NoSuchKey', s3.get_object, Bucket='box', Key='none/ü')['Error']['Key'] == 'none/ü'
assert fails('NoSuchKey', s3.copy_object, Bucket='box', Key='x', CopySource='box/none')['Error']['Key'] == 'none'
assert fails('NoSuchBucket', s3.list_objects_v2, Bucket='none')['Error']['BucketName'] == 'none'
assert fails('NoSuchBucket', s3.copy_object, Bucket='box', Key='x', CopySource='nowhere/k')['Error']['BucketName'] == 'nowhere'
assert fails('BucketNotEmpty', s3.delete_bucket, Bucket='box')['Error']['BucketName'] == 'box'
assert fails('NoSuchUpload', s3.list_parts, Bucket='box', Key='k', UploadId='gone')['Error']['UploadId'] == 'gone'

# A bucket is of the region it was made in, and no other's.
west = boto3.client('s3', endpoint_url=endpoint, region_name='eu-west-1')
place = lambda r: {'LocationConstraint': r}
fails('IllegalLocationConstraintException', s3.create_bucket, Bucket='far', CreateBucketConfiguration=place('eu-west-1'))
fails('IllegalLocationConstraintException', west.create_bucket, Bucket='far', CreateBucketConfiguration=place('eu-central-1'))
fails('InvalidLocationConstraint', s3.create_bucket, Bucket='far', CreateBucketConfiguration=place('no/region'))
west.create_bucket(Bucket='far', CreateBucketConfiguration=place('eu-west-1'))
status, body = raw('GET', boto3.client('s3', endpoint_url=endpoint, config=Config(signature_version='s3v4')).generate_presigned_url('list_objects_v2', Params={'Bucket': 'far'})[len(endpoint):])
assert status == 400 and '<Code>AuthorizationHeaderMalformed</Code>' in body and '<Region>eu-west-1</Region>' in body, body
assert s3.get_bucket_location(Bucket='far')['LocationConstraint'] == 'eu-west-1'
home = boto3.client('s3', endpoint_url=endpoint, region_name='home-1')
home.create_bucket(Bucket='hut', CreateBucketConfiguration=place('home-1'))
home.put_object(Bucket='hut', Key='k', Body=b'x')
print('done')
