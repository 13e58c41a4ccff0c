#!/usr/bin/env bash
# What an administrator does with the AWS CLI on the first day: claim, a user, a policy, a role, and to become it.
# Wants AWS_CLI, AWS_ENDPOINT_URL and AWS_CA_BUNDLE. Prints a line per step and exits non-zero at the first that fails.
set -euo pipefail
export AWS_PAGER= AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
unset AWS_PROFILE AWS_SESSION_TOKEN
aws=$AWS_CLI
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
ok() { echo "ok: $1"; }
fail() { echo "FAIL: $1"; exit 1; }

claimed=$(curl -sS --fail --cacert "$AWS_CA_BUNDLE" -X POST "$AWS_ENDPOINT_URL/claim")
AWS_ACCESS_KEY_ID=$(field access_key_id <<<"$claimed") AWS_SECRET_ACCESS_KEY=$(field secret_access_key <<<"$claimed")
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
account=$("$aws" sts get-caller-identity --query Account --output text)
[ "$account" = "$(field account <<<"$claimed")" ] || fail "account $account"
ok "claimed account $account"

"$aws" iam create-user --user-name ann --path /team/ --tags Key=team,Value=mail >/dev/null
"$aws" iam put-user-policy --user-name ann --policy-name keys --policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:ListKeys","kms:CreateKey"],"Resource":"*"}]}'
read -r id secret < <("$aws" iam create-access-key --user-name ann \
  --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)
ann() { AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret "$aws" "$@"; }
[ "$(ann sts get-caller-identity --query Arn --output text)" = "arn:aws:iam::$account:user/team/ann" ] || fail "not ann"
ann kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY >/dev/null
if ann iam list-users 2>err.$$; then fail "ann lists users"; fi
grep -q "(AccessDenied).*user/team/ann is not authorized to perform: iam:ListUsers" err.$$ || fail "$(cat err.$$)"
rm err.$$
ok "a user who may do what a policy says"

arn=$("$aws" iam create-policy --policy-name random --query Policy.Arn --output text --policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:GenerateRandom","Resource":"*"}]}')
"$aws" iam create-role --role-name dice --assume-role-policy-document \
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::'"$account"':user/team/ann"},"Action":"sts:AssumeRole"}]}' >/dev/null
"$aws" iam attach-role-policy --role-name dice --policy-arn "$arn"
read -r sid ssecret token < <(ann sts assume-role --role-arn "arn:aws:iam::$account:role/dice" --role-session-name game \
  --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text)
dice() { AWS_ACCESS_KEY_ID=$sid AWS_SECRET_ACCESS_KEY=$ssecret AWS_SESSION_TOKEN=$token "$aws" "$@"; }
dice sts get-caller-identity --query Arn --output text | grep -q "assumed-role/dice/game" || fail "not the role"
[ "$(dice kms generate-random --number-of-bytes 4 --query Plaintext --output text | base64 -d | wc -c)" = 4 ] || fail random
if dice kms list-keys >/dev/null 2>&1; then fail "the role lists keys"; fi
ok "a role, and a session of it"

# The CLI's own profiles: the role is assumed behind the scenes.
config=$(mktemp); trap 'rm -f "$config"' EXIT
printf '[profile ann]\naws_access_key_id = %s\naws_secret_access_key = %s\n[profile dice]\nrole_arn = arn:aws:iam::%s:role/dice\nsource_profile = ann\n' \
  "$id" "$secret" "$account" >"$config"
env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_CONFIG_FILE="$config" "$aws" --profile dice sts get-caller-identity \
  --query Arn --output text | grep -q "assumed-role/dice/botocore-session" || fail "profile"
ok "a profile that assumes a role"

"$aws" iam update-access-key --user-name ann --access-key-id "$id" --status Inactive
if ann sts get-caller-identity 2>err.$$; then fail "an inactive key works"; fi
grep -q InvalidClientTokenId err.$$ || fail "$(cat err.$$)"
rm err.$$
ok "an access key that is switched off"
