"""boto3 asks the control endpoint for everything that needs no HSM: clusters, backups, tags, pages, refusals.

Arguments: the endpoint, then what boto3_client.py wants. The store has two backups of one cluster, older and newer.
"""

import sys
import time

import boto3
from boto3_client import client, fails, walked
from botocore.config import Config
from botocore.exceptions import ClientError

hsm = client("cloudhsmv2", parameter_validation=False)
INVALID, MISSING = "CloudHsmInvalidRequestException", "CloudHsmResourceNotFoundException"
NO = "aaaaaaaaaaa"

# Clusters.
subnets = ["subnet-00000000", "subnet-11111111"]
made = hsm.create_cluster(
    HsmType="hsm2m.medium",
    SubnetIds=subnets,
    BackupRetentionPolicy={"Type": "DAYS", "Value": "30"},
    TagList=[{"Key": "for", "Value": "a test"}],
)["Cluster"]
cluster = made["ClusterId"]
assert made["State"] == "UNINITIALIZED" and made["Hsms"] == [], made
assert made["SubnetMapping"] == {"us-east-1a": subnets[0], "us-east-1b": subnets[1]}, made
assert made["BackupRetentionPolicy"] == {"Type": "DAYS", "Value": "30"}, made
assert made["TagList"] == [{"Key": "for", "Value": "a test"}], made
more = {"HsmType": "hsm2m.medium", "SubnetIds": subnets}
fails(INVALID, hsm.create_cluster, **more, Mode="FIPS")
fails(INVALID, hsm.create_cluster, **more, NetworkType="DUALSTACK")
for days in ["6", "380", "0"]:
    fails(INVALID, hsm.create_cluster, **more, BackupRetentionPolicy={"Type": "DAYS", "Value": days})
fails(MISSING, hsm.create_cluster, **more, SourceBackupId=f"backup-{NO}")
fails(MISSING, hsm.create_cluster, **more, SourceBackupId=f"arn:aws:cloudhsm:us-east-1:111122223333:backup/backup-{NO}")
changed = hsm.modify_cluster(ClusterId=cluster, BackupRetentionPolicy={"Type": "DAYS", "Value": "31"})["Cluster"]
assert changed["BackupRetentionPolicy"]["Value"] == "31", changed
fails(INVALID, hsm.modify_cluster, ClusterId=cluster)
fails(INVALID, hsm.modify_cluster, ClusterId=cluster, HsmType="hsm1.medium")
fails(MISSING, hsm.modify_cluster, ClusterId=f"cluster-{NO}", BackupRetentionPolicy={"Type": "DAYS", "Value": "31"})
fails(INVALID, hsm.initialize_cluster, ClusterId=cluster, SignedCert="a", TrustAnchor="a")
fails(MISSING, hsm.create_hsm, ClusterId=f"cluster-{NO}", AvailabilityZone="us-east-1a")
fails(INVALID, hsm.create_hsm, ClusterId=cluster, AvailabilityZone="us-east-1c")
fails(INVALID, hsm.create_hsm, ClusterId=cluster, AvailabilityZone="us-east-1a", IpAddress="10.0.0.1")
fails(INVALID, hsm.delete_hsm, ClusterId=cluster)
fails(INVALID, hsm.delete_hsm, ClusterId=cluster, EniIp="127.0.0.1", EniId="eni-00000000")
fails(MISSING, hsm.delete_hsm, ClusterId=cluster, HsmId=f"hsm-{NO}")
clusters = [hsm.create_cluster(**more)["Cluster"]["ClusterId"] for _ in range(3)]
pages = hsm.get_paginator("describe_clusters").paginate(PaginationConfig={"PageSize": 2})
seen = [found["ClusterId"] for page in pages for found in page["Clusters"]]
assert set(seen) >= {cluster, *clusters} and len(seen) == len(set(seen)) == 5, seen
fails(INVALID, hsm.describe_clusters, NextToken=f"cluster-{NO}")
fails(INVALID, hsm.describe_clusters, Filters={"colours": ["red"]})
named = hsm.describe_clusters(Filters={"clusterIds": [cluster, clusters[0]], "states": ["UNINITIALIZED"]})
assert {found["ClusterId"] for found in named["Clusters"]} == {cluster, clusters[0]}
assert hsm.describe_clusters(Filters={"clusterIds": [cluster], "states": ["ACTIVE"]})["Clusters"] == []
for gone in clusters:
    assert hsm.delete_cluster(ClusterId=gone)["Cluster"]["State"] == "DELETED"
fails(MISSING, hsm.delete_cluster, ClusterId=clusters[0])

# Tags.
hsm.tag_resource(ResourceId=cluster, TagList=[{"Key": f"k{n}", "Value": ""} for n in range(49)])
fails(
    "CloudHsmResourceLimitExceededException",
    hsm.tag_resource,
    ResourceId=cluster,
    TagList=[{"Key": "one", "Value": "too many"}],
)
fails("CloudHsmTagException", hsm.tag_resource, ResourceId=cluster, TagList=[{"Key": "aws:x", "Value": ""}])
fails("CloudHsmTagException", hsm.tag_resource, ResourceId=cluster, TagList=[{"Key": "k1", "Value": ""}] * 2)
pages = hsm.get_paginator("list_tags").paginate(ResourceId=cluster, PaginationConfig={"PageSize": 20})
assert sum(len(page["TagList"]) for page in pages) == 50
hsm.untag_resource(ResourceId=cluster, TagKeyList=[f"k{n}" for n in range(49)])
assert hsm.list_tags(ResourceId=cluster)["TagList"] == [{"Key": "for", "Value": "a test"}]
fails(MISSING, hsm.list_tags, ResourceId=f"backup-{NO}")
hsm.delete_cluster(ClusterId=cluster)

# Backups.
newest, oldest = hsm.describe_backups()["Backups"]
assert newest["CreateTimestamp"] >= oldest["CreateTimestamp"]
first = newest["BackupId"]
assert hsm.describe_backups(SortAscending=True)["Backups"][1]["BackupId"] == first
assert hsm.describe_backups(Shared=True)["Backups"] == []
pages = hsm.get_paginator("describe_backups").paginate(PaginationConfig={"PageSize": 1})
assert [page["Backups"][0]["BackupId"] for page in pages] == [first, oldest["BackupId"]]


def found(**filters):
    return {backup["BackupId"] for backup in hsm.describe_backups(Filters=filters)["Backups"]}


kept = hsm.modify_backup_attributes(BackupId=first, NeverExpires=True)["Backup"]
assert kept["NeverExpires"] is True
assert found(neverExpires=["true"]) == {first} and found(neverExpires=["false"]) == {oldest["BackupId"]}
assert found(clusterIds=[newest["ClusterId"]]) == {first, oldest["BackupId"]}
assert found(backupIds=[first]) == {first} and found(clusterIds=[cluster]) == set()
fails(INVALID, hsm.describe_backups, Filters={"colours": ["red"]})
fails(INVALID, hsm.restore_backup, BackupId=first)
deleted = hsm.delete_backup(BackupId=first)["Backup"]
assert deleted["BackupState"] == "PENDING_DELETION"
days = (deleted["DeleteTimestamp"].timestamp() - time.time()) / 86400
assert 6.9 < days <= 7, days
assert found(states=["PENDING_DELETION"]) == {first}
fails(INVALID, hsm.delete_backup, BackupId=first)
fails(INVALID, hsm.modify_backup_attributes, BackupId=first, NeverExpires=False)
fails(INVALID, hsm.copy_backup_to_region, BackupId=first, DestinationRegion="us-west-2")
assert hsm.restore_backup(BackupId=first)["Backup"]["BackupState"] == "READY"
fails(MISSING, hsm.delete_backup, BackupId=f"backup-{NO}")
fails(MISSING, hsm.restore_backup, BackupId=f"backup-{NO}")
fails(MISSING, hsm.modify_backup_attributes, BackupId=f"backup-{NO}", NeverExpires=True)
for region in ["us-east-1", "eu-central-1"]:
    fails(INVALID, hsm.copy_backup_to_region, BackupId=first, DestinationRegion=region)
copy = hsm.copy_backup_to_region(
    BackupId=first, DestinationRegion="us-west-2", TagList=[{"Key": "copy", "Value": "yes"}]
)["DestinationBackup"]
assert (copy["SourceBackup"], copy["SourceRegion"]) == (first, "us-east-1"), copy
assert hsm.get_resource_policy(ResourceArn=newest["BackupArn"]).get("Policy") is None
assert hsm.delete_resource_policy(ResourceArn=newest["BackupArn"])["ResourceArn"] == newest["BackupArn"]
fails(INVALID, hsm.put_resource_policy, ResourceArn=newest["BackupArn"], Policy="{}")
fails(MISSING, hsm.get_resource_policy, ResourceArn=newest["BackupArn"].replace(first, f"backup-{NO}"))
fails(INVALID, hsm.get_resource_policy)


# An HSM: of the cluster whose backups these are.
whose = newest["ClusterId"]
made = hsm.create_hsm(ClusterId=whose, AvailabilityZone="us-east-1a")["Hsm"]
assert made["State"] == "ACTIVE" and made["ClusterId"] == whose, made
(shown,) = hsm.describe_clusters(Filters={"clusterIds": [whose]})["Clusters"]
assert shown["Hsms"] == [made], shown
fails(INVALID, hsm.create_hsm, ClusterId=whose, AvailabilityZone="us-east-1a")
fails(INVALID, hsm.delete_cluster, ClusterId=whose)
fails(MISSING, hsm.delete_hsm, ClusterId=whose, EniId="eni-00000000")
assert hsm.delete_hsm(ClusterId=whose, EniId=made["EniId"])["HsmId"] == made["HsmId"]
assert len(found(clusterIds=[whose])) == 3

# The other region: the same address, and what requests are signed for says which.
def in_region(region, **credentials):
    config = Config(retries={"max_attempts": 0, "mode": "standard"})
    return boto3.client("cloudhsmv2", endpoint_url=sys.argv[1], region_name=region, config=config, **credentials)


west = in_region("us-west-2")
(there,) = west.describe_backups()["Backups"]
assert (there["SourceBackup"], there["SourceRegion"], there["SourceCluster"]) == (first, "us-east-1", newest["ClusterId"])
assert there["TagList"] == [{"Key": "copy", "Value": "yes"}] and there["BackupId"] != first
assert there["BackupArn"].startswith("arn:aws:cloudhsm:us-west-2:"), there
assert west.describe_backups(Filters={"sourceBackupIds": [first]})["Backups"] == [there]
assert west.describe_clusters()["Clusters"] == []


# Strangers.
def code(ask, **arguments):
    try:
        ask(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    raise AssertionError("answered")


assert code(in_region("eu-central-1").describe_clusters) == INVALID
stranger = in_region("us-east-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x")
assert code(stranger.describe_clusters) == "UnrecognizedClientException"
key = hsm._request_signer._credentials.access_key
forger = in_region("us-east-1", aws_access_key_id=key, aws_secret_access_key="x")
assert code(forger.describe_clusters) == "InvalidSignatureException"
assert code(forger.delete_backup, BackupId=first) == "InvalidSignatureException"
session = in_region("us-east-1", aws_access_key_id=key, aws_secret_access_key="x", aws_session_token="t")
assert code(session.describe_clusters) == "UnrecognizedClientException"
print(f"walked {len(walked)} operations")
