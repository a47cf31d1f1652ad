# Stage 0: names the node, fetches interpreter and bundle by their hashes, installs. May run again at any time.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
trap { [Console]::Error.WriteLine("millpond: stage 0 failed at line $($_.InvocationInfo.ScriptLineNumber): $_"); exit 1 }
[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
$profileJson = '{"blob_endpoint":"https://millpondsample.blob.core.windows.net/","bundle_sha256":"abababababababababababababababababababababababababababababababab","data_disk":false,"events_queue":"events","generation":"0123abcd","group":"d2sv5","identity_client_id":"11111111-2222-3333-4444-555555555555","pool":"risk","python_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","queue_endpoint":"https://millpondsample.queue.core.windows.net/","status_interval_seconds":10.0,"task_slots":2,"work_queue":"risk-d2sv5-0123abcd"}'
$settings = $profileJson | ConvertFrom-Json
$root = Join-Path $env:SystemDrive '\millpond'
$imds = 'http://169.254.169.254/metadata'

function Invoke-Patiently([hashtable]$Request) {
    # New roles take minutes to spread: 401, 403, 404 mean "not yet".
    $deadline = (Get-Date).AddMinutes(20); $pause = 1
    while ($true) {
        try { return Invoke-WebRequest -UseBasicParsing -TimeoutSec 60 @Request }
        catch {
            if ((Get-Date) -gt $deadline) { throw }
            Write-Output "millpond: waiting for $($Request.Uri.Split('?')[0]): $($_.Exception.Message)" | Out-Host
            Start-Sleep -Seconds $pause; $pause = [Math]::Min($pause * 2, 15)
        }
    }
}
function Get-Now { (Get-Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'+00:00'") }
function Write-Record([string]$Name, [string]$Started, [int]$Code, [string]$Output) {
    $body = @{ schema_version = 1; node_id = $node; step = $Name.Substring(2); started_at = $Started; ended_at = Get-Now
        exit_code = $Code; output = $Output } | ConvertTo-Json -Compress
    $null = Invoke-Patiently @{ Uri = "$($settings.blob_endpoint)nodes/boot/$node/$Name.json"; Method = 'Put'
        Headers = $auth + @{ 'x-ms-blob-type' = 'BlockBlob' }; Body = [Text.Encoding]::UTF8.GetBytes($body) }
}
function Get-Pinned([string]$Name, [string]$Hash) {
    $file = Join-Path $root $Name
    if (-not (Test-Path $file)) {
        $null = Invoke-Patiently @{ Uri = "$($settings.blob_endpoint)bundles/$Name"; Headers = $auth; OutFile = "$file.part" }
        if ((Get-FileHash "$file.part" -Algorithm SHA256).Hash -ne $Hash) {
            Write-Record '1-fetch' $started 1 "$Name has another hash"
            throw "$Name has another hash"
        }
        Move-Item "$file.part" $file
    }
    $file
}
$started = Get-Now
$here = @{ Metadata = 'true' }
$node = $env:AZ_BATCH_NODE_ID
if (-not $node) {
    $node = ((Invoke-Patiently @{ Uri = "$imds/instance/compute?api-version=2021-02-01"; Headers = $here }).Content | ConvertFrom-Json).name
}
$query = "api-version=2018-02-01&resource=https://storage.azure.com/&client_id=$($settings.identity_client_id)"
$answer = (Invoke-Patiently @{ Uri = "$imds/identity/oauth2/token?$query"; Headers = $here }).Content | ConvertFrom-Json
$auth = @{ Authorization = "Bearer $($answer.access_token)"; 'x-ms-version' = '2023-11-03' }
Write-Record '0-stage-0' $started 0 ''
$started = Get-Now
$null = New-Item -ItemType Directory -Force $root
$python = Get-Pinned "$($settings.python_sha256).zip" $settings.python_sha256
$bundle = Get-Pinned "$($settings.bundle_sha256).tar.gz" $settings.bundle_sha256
$target = Join-Path $root $settings.bundle_sha256.Substring(0, 12)
$null = New-Item -ItemType Directory -Force $target
& "$env:SystemRoot\System32\tar.exe" -xf $bundle -C $target
if ($LASTEXITCODE -ne 0) { throw "tar failed with exit code $LASTEXITCODE" }
Write-Record '1-fetch' $started 0 ''
& "$target\install.ps1" -Node $node -ProfileJson $profileJson -PythonArchive $python -Root $root
