"""Resources of one region are out of reach of another. Prints "done" if they are."""
import sys

import boto3
import botocore.exceptions

endpoint = sys.argv[1]
client = lambda service, region: boto3.client(service, endpoint_url=endpoint, region_name=region)


def fails(code, call, **args):
    try:
        call(**args)
    except botocore.exceptions.ClientError as e:
        assert e.response['Error']['Code'] == code, (call, args, e.response, code)
        return
    raise AssertionError('%s succeeded, want %s' % (call, code))


kms, far = client('kms', 'us-east-1'), client('kms', 'eu-west-1')
key = kms.create_key()['KeyMetadata']
kms.create_alias(AliasName='alias/mine', TargetKeyId=key['KeyId'])
blob = kms.encrypt(KeyId=key['KeyId'], Plaintext=b'secret')['CiphertextBlob']
for ref in (key['KeyId'], key['Arn'], 'alias/mine', key['Arn'].rsplit(':', 1)[0] + ':alias/mine'):
    kms.describe_key(KeyId=ref)
    for call in (far.describe_key, far.disable_key, far.enable_key):
        fails('NotFoundException', call, KeyId=ref)
    fails('NotFoundException', far.encrypt, KeyId=ref, Plaintext=b'x')
    fails('NotFoundException', far.generate_data_key, KeyId=ref, KeySpec='AES_256')
    fails('NotFoundException', far.create_alias, AliasName='alias/far', TargetKeyId=ref)
fails('InvalidCiphertextException', far.decrypt, CiphertextBlob=blob)
assert kms.decrypt(CiphertextBlob=blob)['Plaintext'] == b'secret'
assert kms.describe_key(KeyId=key['KeyId'])['KeyMetadata']['Enabled']

# A bucket's objects are sealed by keys of its own region.
s3, s3far = client('s3', 'us-east-1'), client('s3', 'eu-west-1')
s3far.create_bucket(Bucket='west', CreateBucketConfiguration={'LocationConstraint': 'eu-west-1'})
fails('KMS.NotFoundException', s3far.put_object, Bucket='west', Key='k', Body=b'x', ServerSideEncryption='aws:kms', SSEKMSKeyId=key['KeyId'])
own = far.create_key()['KeyMetadata']['KeyId']
s3far.put_object(Bucket='west', Key='k', Body=b'x', ServerSideEncryption='aws:kms', SSEKMSKeyId=own)
assert s3far.get_object(Bucket='west', Key='k')['Body'].read() == b'x'

k, kfar = client('kinesis', 'us-east-1'), client('kinesis', 'eu-west-1')
k.create_stream(StreamName='s', ShardCount=1)
arn = k.describe_stream(StreamName='s')['StreamDescription']['StreamARN']
fails('ResourceNotFoundException', kfar.describe_stream, StreamARN=arn)
fails('ResourceNotFoundException', kfar.put_record, StreamARN=arn, Data=b'x', PartitionKey='p')
fails('ResourceNotFoundException', kfar.delete_stream, StreamARN=arn)
kfar.create_stream(StreamName='s', ShardCount=1)
fails('ResourceNotFoundException', kfar.put_record, StreamARN=arn, Data=b'x', PartitionKey='p')
fails('InvalidArgumentException', k.put_record, StreamARN=arn, StreamName='other', Data=b'x', PartitionKey='p')
it = k.get_shard_iterator(StreamARN=arn, ShardId='shardId-000000000000', ShardIteratorType='TRIM_HORIZON')['ShardIterator']
fails('InvalidArgumentException', kfar.get_records, ShardIterator=it)
k.get_records(ShardIterator=it)

s3.create_bucket(Bucket='out')
fh = client('firehose', 'eu-west-1')
fails('InvalidArgumentException', fh.create_delivery_stream, DeliveryStreamName='d', DeliveryStreamType='KinesisStreamAsSource',
      KinesisStreamSourceConfiguration={'KinesisStreamARN': arn, 'RoleARN': 'arn:aws:iam::123456789012:role/r'},
      ExtendedS3DestinationConfiguration={'BucketARN': 'arn:aws:s3:::out', 'RoleARN': 'arn:aws:iam::123456789012:role/r'})
print('done')
