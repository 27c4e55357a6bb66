"""What programs do with boto3. Prints "done" if all of it was as AWS has it."""
import base64
import datetime
import hashlib
import io
import json
import os
import sys
import time
import zlib

import boto3
import botocore.exceptions
from boto3.s3.transfer import TransferConfig

endpoint = sys.argv[1]
s3, kinesis, kms, iam, firehose = (boto3.client(s, endpoint_url=endpoint) for s in ('s3', 'kinesis', 'kms', 'iam', 'firehose'))


def fails(code, call, **args):
    try:
        call(**args)
    except botocore.exceptions.ClientError as e:
        assert e.response['Error']['Code'] == code, (e.response, code)
        assert e.response['ResponseMetadata']['RequestId'], e.response
        return e.response
    raise AssertionError('%s succeeded, want %s' % (call, code))


# Objects: metadata, checksums, conditions, copies.
s3.create_bucket(Bucket='box')
for algorithm in ('CRC32', 'SHA1', 'SHA256'):
    put = s3.put_object(Bucket='box', Key='sum/' + algorithm, Body=b'hello', ChecksumAlgorithm=algorithm, Metadata={'colour': 'red'}, ContentType='text/plain')
    got = s3.get_object(Bucket='box', Key='sum/' + algorithm, ChecksumMode='ENABLED')
    assert got['Body'].read() == b'hello' and got['Metadata'] == {'colour': 'red'} and got['ContentType'] == 'text/plain', got
    assert got['Checksum' + algorithm] == put['Checksum' + algorithm], got
assert s3.head_object(Bucket='box', Key='sum/SHA256', ChecksumMode='ENABLED')['ChecksumSHA256'] == base64.b64encode(hashlib.sha256(b'hello').digest()).decode()
fails('BadDigest', s3.put_object, Bucket='box', Key='bad', Body=b'hello', ChecksumSHA256=base64.b64encode(hashlib.sha256(b'other').digest()).decode())
fails('BadDigest', s3.put_object, Bucket='box', Key='bad', Body=b'hello', ContentMD5=base64.b64encode(hashlib.md5(b'other').digest()).decode())
fails('404', s3.head_object, Bucket='box', Key='bad')
assert s3.put_object(Bucket='box', Key='once', Body=b'1', IfNoneMatch='*')['ETag'] == '"%s"' % hashlib.md5(b'1').hexdigest()
fails('PreconditionFailed', s3.put_object, Bucket='box', Key='once', Body=b'2', IfNoneMatch='*')
etag = s3.head_object(Bucket='box', Key='once')['ETag']
fails('PreconditionFailed', s3.put_object, Bucket='box', Key='once', Body=b'2', IfMatch='"00"')
s3.put_object(Bucket='box', Key='once', Body=b'2', IfMatch=etag)
fails('304', s3.get_object, Bucket='box', Key='once', IfNoneMatch=s3.head_object(Bucket='box', Key='once')['ETag'])
fails('PreconditionFailed', s3.get_object, Bucket='box', Key='once', IfMatch=etag)
s3.copy_object(Bucket='box', Key='copy of ü', CopySource={'Bucket': 'box', 'Key': 'sum/SHA1'})
assert s3.get_object(Bucket='box', Key='copy of ü')['Metadata'] == {'colour': 'red'}
s3.copy_object(Bucket='box', Key='replaced', CopySource='box/sum/SHA1', MetadataDirective='REPLACE', Metadata={'a': 'b'})
assert s3.head_object(Bucket='box', Key='replaced')['Metadata'] == {'a': 'b'}
fails('NoSuchKey', s3.copy_object, Bucket='box', Key='x', CopySource='box/none')
fails('NoSuchKey', s3.get_object, Bucket='box', Key='none')
fails('NoSuchBucket', s3.get_object, Bucket='none', Key='none')

# Multipart: by the transfer manager, and by hand.
data = os.urandom(17_000_001)
s3.upload_fileobj(io.BytesIO(data), 'box', 'big', Config=TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20))
sink = io.BytesIO()
s3.download_fileobj('box', 'big', sink, Config=TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=3 << 20))
assert sink.getvalue() == data
etags = b''.join(hashlib.md5(data[i:i + (5 << 20)]).digest() for i in range(0, len(data), 5 << 20))
assert s3.head_object(Bucket='box', Key='big')['ETag'] == '"%s-4"' % hashlib.md5(etags).hexdigest()
for kind in ('FULL_OBJECT', 'COMPOSITE'):
    upload = s3.create_multipart_upload(Bucket='box', Key='parts', ChecksumAlgorithm='CRC32', ChecksumType=kind)['UploadId']
    chunks, parts = [data[:5 << 20], data[5 << 20:10 << 20], b'tail'], []
    for i, chunk in enumerate(chunks, 1):
        r = s3.upload_part(Bucket='box', Key='parts', UploadId=upload, PartNumber=i, Body=chunk, ChecksumAlgorithm='CRC32')
        parts.append({'PartNumber': i, 'ETag': r['ETag'], 'ChecksumCRC32': r['ChecksumCRC32']})
    assert [p['PartNumber'] for p in s3.list_parts(Bucket='box', Key='parts', UploadId=upload)['Parts']] == [1, 2, 3]
    assert s3.list_multipart_uploads(Bucket='box')['Uploads'][0]['UploadId'] == upload
    fails('InvalidPartOrder', s3.complete_multipart_upload, Bucket='box', Key='parts', UploadId=upload, MultipartUpload={'Parts': parts[::-1]})
    fails('InvalidPart', s3.complete_multipart_upload, Bucket='box', Key='parts', UploadId=upload, MultipartUpload={'Parts': [dict(parts[0], ETag='"0"')]})
    done = s3.complete_multipart_upload(Bucket='box', Key='parts', UploadId=upload, MultipartUpload={'Parts': parts})
    if kind == 'FULL_OBJECT':
        want = base64.b64encode(zlib.crc32(b''.join(chunks)).to_bytes(4, 'big')).decode()
    else:
        sums = b''.join(zlib.crc32(c).to_bytes(4, 'big') for c in chunks)
        want = base64.b64encode(zlib.crc32(sums).to_bytes(4, 'big')).decode() + '-3'
    assert done['ChecksumCRC32'] == want, (done, want)
    assert s3.get_object(Bucket='box', Key='parts')['Body'].read() == b''.join(chunks)
    again = s3.complete_multipart_upload(Bucket='box', Key='parts', UploadId=upload, MultipartUpload={'Parts': parts})
    assert again['ETag'] == done['ETag'], (again, done)
upload = s3.create_multipart_upload(Bucket='box', Key='small')['UploadId']
parts = [{'PartNumber': i, 'ETag': s3.upload_part(Bucket='box', Key='small', UploadId=upload, PartNumber=i, Body=b'x')['ETag']} for i in (1, 2)]
fails('EntityTooSmall', s3.complete_multipart_upload, Bucket='box', Key='small', UploadId=upload, MultipartUpload={'Parts': parts})
s3.abort_multipart_upload(Bucket='box', Key='small', UploadId=upload)
fails('NoSuchUpload', s3.list_parts, Bucket='box', Key='small', UploadId=upload)

# Listings, against what they should be.
s3.create_bucket(Bucket='list')
keys = sorted(['a', 'a/', 'a/b', 'a/b/c', 'a/c', 'aa', 'b/1', 'b/2', 'c-d', 'z/ü', 'z/é & <x>', '~'], key=lambda k: k.encode())
for k in keys:
    s3.put_object(Bucket='list', Key=k, Body=b'')


def listing(method, prefix, delimiter, size):
    kept, common = [], []
    args = {'Bucket': 'list', 'Prefix': prefix, 'PaginationConfig': {'PageSize': size}}
    if delimiter:
        args['Delimiter'] = delimiter
    for page in s3.get_paginator(method).paginate(**args):
        assert len(page.get('Contents', [])) + len(page.get('CommonPrefixes', [])) <= size
        kept += [c['Key'] for c in page.get('Contents', [])]
        common += [c['Prefix'] for c in page.get('CommonPrefixes', [])]
    return kept, common


for prefix in ('', 'a', 'a/', 'b/', 'none', 'z/'):
    for delimiter in ('', '/', 'b'):
        kept, common = [], []
        for k in keys:
            if k.startswith(prefix):
                at = k.find(delimiter, len(prefix)) if delimiter else -1
                if at < 0:
                    kept.append(k)
                elif k[:at + len(delimiter)] not in common:
                    common.append(k[:at + len(delimiter)])
        for size in (1, 2, 3, 1000):
            for method in ('list_objects_v2', 'list_objects'):
                assert listing(method, prefix, delimiter, size) == (kept, common), (method, prefix, delimiter, size, listing(method, prefix, delimiter, size), (kept, common))
assert [c['Key'] for c in s3.list_objects_v2(Bucket='list', StartAfter='b/1')['Contents']] == [k for k in keys if k.encode() > b'b/1']
gone = s3.delete_objects(Bucket='list', Delete={'Objects': [{'Key': k} for k in keys]})
assert len(gone['Deleted']) == len(keys) and 'Errors' not in gone, gone
s3.delete_bucket(Bucket='list')

# Streams: every type of iterator.
kinesis.create_stream(StreamName='s', ShardCount=1)
stamps, numbers = [], []
for i in range(5):
    numbers.append(kinesis.put_record(StreamName='s', PartitionKey='k%d' % i, Data=b'%d' % i)['SequenceNumber'])
    time.sleep(1.1 if i == 1 else 0.02)  # this client sends whole seconds
more = kinesis.put_records(StreamName='s', Records=[{'PartitionKey': 'k', 'Data': b'%d' % i} for i in range(5, 8)])
assert more['FailedRecordCount'] == 0
numbers += [r['SequenceNumber'] for r in more['Records']]
assert numbers == sorted(numbers, key=int)


def read(kind, **where):
    it = kinesis.get_shard_iterator(StreamName='s', ShardId='shardId-000000000000', ShardIteratorType=kind, **where)['ShardIterator']
    out = []
    while True:
        got = kinesis.get_records(ShardIterator=it, Limit=3)
        if not got['Records']:
            assert got['MillisBehindLatest'] == 0
            return out
        out += got['Records']
        it = got['NextShardIterator']


values = lambda records: [int(r['Data']) for r in records]
everything = read('TRIM_HORIZON')
assert values(everything) == list(range(8)) and [r['SequenceNumber'] for r in everything] == numbers
assert values(read('AT_SEQUENCE_NUMBER', StartingSequenceNumber=numbers[3])) == [3, 4, 5, 6, 7]
assert values(read('AFTER_SEQUENCE_NUMBER', StartingSequenceNumber=numbers[3])) == [4, 5, 6, 7]
whole = everything[2]['ApproximateArrivalTimestamp'].replace(microsecond=0)
assert values(read('AT_TIMESTAMP', Timestamp=whole)) == [int(r['Data']) for r in everything if r['ApproximateArrivalTimestamp'] >= whole] != list(range(8))
assert values(read('AT_TIMESTAMP', Timestamp=datetime.datetime(2001, 1, 1))) == list(range(8))
assert read('LATEST') == []
it = kinesis.get_shard_iterator(StreamName='s', ShardId='shardId-000000000000', ShardIteratorType='LATEST')['ShardIterator']
kinesis.put_record(StreamName='s', PartitionKey='k', Data=b'8')
assert values(kinesis.get_records(ShardIterator=it)['Records']) == [8]
fails('InvalidArgumentException', kinesis.get_shard_iterator, StreamName='s', ShardId='shardId-000000000000', ShardIteratorType='AT_SEQUENCE_NUMBER', StartingSequenceNumber='999999')
fails('ResourceNotFoundException', kinesis.get_shard_iterator, StreamName='s', ShardId='shardId-000000000009', ShardIteratorType='LATEST')
fails('InvalidArgumentException', kinesis.get_records, ShardIterator='AAAA')
kinesis.delete_stream(StreamName='s')
kinesis.create_stream(StreamName='s', ShardCount=1)
fails('ResourceNotFoundException', kinesis.get_records, ShardIterator=it)  # of the stream that is gone
kinesis.create_stream(StreamName='wide', ShardCount=3)
shards = kinesis.list_shards(StreamName='wide')['Shards']
for i in range(60):
    placed = kinesis.put_record(StreamName='wide', PartitionKey='key %d' % i, Data=b'x')['ShardId']
    hashed = int.from_bytes(hashlib.md5(b'key %d' % i).digest(), 'big')
    r = next(s['HashKeyRange'] for s in shards if s['ShardId'] == placed)
    assert int(r['StartingHashKey']) <= hashed <= int(r['EndingHashKey']), (i, placed)

# Keys.
key = kms.create_key()['KeyMetadata']['KeyId']
blob = kms.encrypt(KeyId=key, Plaintext=b'secret', EncryptionContext={'a': '1', 'b': '2'})['CiphertextBlob']
assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={'b': '2', 'a': '1'})['Plaintext'] == b'secret'
fails('InvalidCiphertextException', kms.decrypt, CiphertextBlob=blob, EncryptionContext={'a': '1'})
fails('InvalidCiphertextException', kms.decrypt, CiphertextBlob=blob[:-1] + bytes([blob[-1] ^ 1]), EncryptionContext={'a': '1', 'b': '2'})
other = kms.create_key()['KeyMetadata']['KeyId']
fails('IncorrectKeyException', kms.decrypt, CiphertextBlob=blob, KeyId=other, EncryptionContext={'a': '1', 'b': '2'})
fails('NotFoundException', kms.describe_key, KeyId='alias/none')
dk = kms.generate_data_key(KeyId=key, KeySpec='AES_256')
assert kms.decrypt(CiphertextBlob=dk['CiphertextBlob'])['Plaintext'] == dk['Plaintext'] and len(dk['Plaintext']) == 32
s3.put_object(Bucket='box', Key='sealed', Body=b'x', ServerSideEncryption='aws:kms', SSEKMSKeyId=key)
assert s3.head_object(Bucket='box', Key='sealed')['SSEKMSKeyId'].endswith(key)

# Identities.
iam.create_user(UserName='Joe', Path='/staff/')
fails('EntityAlreadyExists', iam.create_user, UserName='joe')
document = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': 's3:ListAllMyBuckets', 'Resource': '*'}]}
iam.put_user_policy(UserName='Joe', PolicyName='p', PolicyDocument=json.dumps(document))
assert iam.get_user_policy(UserName='Joe', PolicyName='p')['PolicyDocument'] == document
fails('MalformedPolicyDocument', iam.put_user_policy, UserName='Joe', PolicyName='q', PolicyDocument='{}')
k = iam.create_access_key(UserName='Joe')['AccessKey']
assert 'LastUsedDate' not in iam.get_access_key_last_used(AccessKeyId=k['AccessKeyId'])['AccessKeyLastUsed']
bad = boto3.client('s3', endpoint_url=endpoint, aws_access_key_id=k['AccessKeyId'], aws_secret_access_key='wrong')
fails('SignatureDoesNotMatch', bad.list_buckets)
assert 'LastUsedDate' not in iam.get_access_key_last_used(AccessKeyId=k['AccessKeyId'])['AccessKeyLastUsed']
joe = boto3.client('s3', endpoint_url=endpoint, aws_access_key_id=k['AccessKeyId'], aws_secret_access_key=k['SecretAccessKey'])
joe.list_buckets()
assert iam.get_access_key_last_used(AccessKeyId=k['AccessKeyId'])['AccessKeyLastUsed']['ServiceName'] == 's3'
fails('AccessDenied', joe.create_bucket, Bucket='joes')
iam.create_access_key(UserName='Joe')
fails('LimitExceeded', iam.create_access_key, UserName='Joe')
for i in range(7):
    iam.create_user(UserName='user%d' % i)
assert len([u for p in iam.get_paginator('list_users').paginate(PaginationConfig={'PageSize': 3}) for u in p['Users']]) == 8

# Direct puts to a delivery stream.
s3.create_bucket(Bucket='out')
destination = {'BucketARN': 'arn:aws:s3:::out', 'RoleARN': 'arn:aws:iam::123456789012:role/r', 'Prefix': 'p/',
               'BufferingHints': {'IntervalInSeconds': 0, 'SizeInMBs': 1}}
firehose.create_delivery_stream(DeliveryStreamName='d', ExtendedS3DestinationConfiguration=destination)
fails('ResourceInUseException', firehose.create_delivery_stream, DeliveryStreamName='d', ExtendedS3DestinationConfiguration=destination)
fails('InvalidArgumentException', firehose.create_delivery_stream, DeliveryStreamName='e', ExtendedS3DestinationConfiguration=dict(destination, BucketARN='arn:aws:s3:::none'))
answer = firehose.put_record_batch(DeliveryStreamName='d', Records=[{'Data': b'%d\n' % i} for i in range(100)])
assert answer['FailedPutCount'] == 0 and len(answer['RequestResponses']) == 100
for _ in range(100):
    text = b''.join(s3.get_object(Bucket='out', Key=o['Key'])['Body'].read() for o in s3.list_objects_v2(Bucket='out').get('Contents', []))
    if text.count(b'\n') >= 100:
        break
    time.sleep(0.1)
assert text == b''.join(b'%d\n' % i for i in range(100)), text
print('done')
