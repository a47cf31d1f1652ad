# Installs and starts the task runner from the bundle this script lies in. May run again at any time: after a restart of
# the machine, or where a step failed before. Windows PowerShell 5.1, as SYSTEM; ASCII only, as 5.1 reads files so.
param(
    [Parameter(Mandatory)][string]$Node,
    [Parameter(Mandatory)][string]$ProfileJson,
    [Parameter(Mandatory)][string]$Root
)
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
[Net.WebRequest]::DefaultWebProxy = $null

$planFile = Join-Path $PSScriptRoot 'boot-plan.json'
$system32 = Join-Path $env:SystemRoot 'System32'
$state = Join-Path $Root 'state'
$output = Join-Path $state 'boot-output.txt'
$settingsFile = Join-Path $state 'settings.json'
$runnerFile = Join-Path $state 'runner.json'
$account = 'millpond-task'
$serviceName = 'millpond'
# Under the names that Windows has in every language: S-1-5-18 is SYSTEM, S-1-5-32-544 the administrators.
$closed = @('/inheritance:r', '/grant:r', '*S-1-5-18:(OI)(CI)F', '/grant:r', '*S-1-5-32-544:(OI)(CI)F')

# A step's number is its place in every boot, so that records stand in order; stage 0 has 0 and 1.
$script:number = 2
$script:step = 'python'
$script:started = ''

trap {
    $said = "step $script:step failed at line $($_.InvocationInfo.ScriptLineNumber): $_"
    [Console]::Error.WriteLine("millpond: $said")
    try { Write-Record 1 $said }
    catch { [Console]::Error.WriteLine("millpond: not recorded: $($_.Exception.Message)") }
    exit 1
}
function Get-Now { (Get-Date).ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'+00:00'") }
function Invoke-Patiently([hashtable]$Request, [int]$Minutes) {
    # As in stage 0: whatever is refused may be allowed in a minute.
    $deadline = (Get-Date).AddMinutes($Minutes); $pause = 1
    while ($true) {
        try { return Invoke-WebRequest -UseBasicParsing -TimeoutSec 120 @Request }
        catch {
            if ((Get-Date) -gt $deadline) { throw }
            [Console]::Error.WriteLine("millpond: waiting for $($Request.Uri.Split('?')[0]): $($_.Exception.Message)")
            Start-Sleep -Seconds $pause; $pause = [Math]::Min($pause * 2, 15)
        }
    }
}
function Get-Authorization {
    $query = "api-version=2018-02-01&resource=https://storage.azure.com/&client_id=$($settings.identity_client_id)"
    $answer = Invoke-Patiently -Minutes 20 @{
        Uri = "http://169.254.169.254/metadata/identity/oauth2/token?$query"; Headers = @{ Metadata = 'true' } }
    @{ Authorization = "Bearer $(($answer.Content | ConvertFrom-Json).access_token)"; 'x-ms-version' = '2023-11-03' }
}
function Write-Record([int]$Code, [string]$Last = '') {
    $text = $Last
    if (Test-Path $output) { $text = [string](Get-Content -Raw -Encoding UTF8 $output) + $Last }
    $body = @{ schema_version = 1; node_id = $Node; step = $script:step; started_at = $script:started; ended_at = Get-Now
        exit_code = $Code; output = $text.Substring([Math]::Max(0, $text.Length - 4096)) } | ConvertTo-Json -Compress
    $null = Invoke-Patiently -Minutes 5 @{
        Uri = "$($settings.blob_endpoint)nodes/boot/$Node/$script:number-$script:step.json"; Method = 'Put'
        Headers = (Get-Authorization) + @{ 'x-ms-blob-type' = 'BlockBlob' }; Body = [Text.Encoding]::UTF8.GetBytes($body) }
}
function Start-Step([int]$Number, [string]$Name) {
    $script:number = $Number
    $script:step = $Name
    $script:started = Get-Now
    Set-Content -Path $output -Value "== $Name" -Encoding UTF8
}
function Add-Line([string]$Text) { Add-Content -Path $output -Value $Text -Encoding UTF8 }
function Invoke-Native([string]$File, [string[]]$Arguments, [int[]]$Accepted = @(0)) {
    # Windows PowerShell makes an error of every line on stderr; the exit code is what counts.
    $before, $ErrorActionPreference = $ErrorActionPreference, 'Continue'
    & $File @Arguments 2>&1 | ForEach-Object { Add-Line "$_" }
    $ErrorActionPreference = $before
    if ($LASTEXITCODE -notin $Accepted) { throw "$File ended with exit code $LASTEXITCODE" }
}
function Invoke-RunnerModule([string]$Module, [string[]]$Arguments) {
    Invoke-Native $python (@('-m', "node_bootstrap.runner.$Module") + $Arguments)
}
function Set-Registry([string]$Path, [string]$Name, [int]$Value) {
    if (-not (Test-Path $Path)) { $null = New-Item -Path $Path -Force }
    Set-ItemProperty -Path $Path -Name $Name -Value $Value -Type DWord
}

$script:started = Get-Now
$settings = $ProfileJson | ConvertFrom-Json
$plan = Get-Content -Raw -Encoding UTF8 $planFile | ConvertFrom-Json
# Closed before anything lies in it: only the system and administrators read or change what the runner is made of.
$null = New-Item -ItemType Directory -Force $Root
$null = & "$system32\icacls.exe" $Root @closed /q
if ($LASTEXITCODE -ne 0) { throw "icacls ended with exit code $LASTEXITCODE" }
$null = New-Item -ItemType Directory -Force $state

Start-Step 2 'python'
$hash = $settings.python_sha256
$pythonFolder = Join-Path $Root "python-$($hash.Substring(0, 12))"
$python = Join-Path $pythonFolder 'python.exe'
if (-not (Test-Path $python)) {
    $archive = Join-Path $Root "$hash.zip"
    $null = Invoke-Patiently -Minutes 20 @{
        Uri = "$($settings.blob_endpoint)bundles/$hash.zip"; Headers = (Get-Authorization); OutFile = $archive }
    $found = (Get-FileHash $archive -Algorithm SHA256).Hash
    if ($found -ne $hash) {
        Remove-Item $archive
        throw "the pinned Python has the SHA-256 $found, not $hash"
    }
    foreach ($old in "$pythonFolder.part", $pythonFolder) { if (Test-Path $old) { Remove-Item -Recurse -Force $old } }
    Expand-Archive -Path $archive -DestinationPath "$pythonFolder.part"
    Move-Item "$pythonFolder.part" $pythonFolder
    Remove-Item $archive
}
# The embeddable interpreter finds modules by its ._pth file alone, not by PYTHONPATH: the standard library, and us.
$paths = Get-ChildItem $pythonFolder -Filter 'python*._pth' | Select-Object -First 1
if ($null -eq $paths) { throw "the pinned Python is not python.org's embeddable package: it has no python*._pth" }
[IO.File]::WriteAllLines($paths.FullName, [string[]]@("$($paths.BaseName).zip", '.', $PSScriptRoot))
Invoke-Native $python @('-c', 'import node_bootstrap.runner.shell, sys; print(sys.version)')
Write-Record 0

Start-Step 3 'install'
[IO.File]::WriteAllText($settingsFile, (
        $settings | Add-Member -Force -PassThru -NotePropertyName node_id -NotePropertyValue $Node |
        Add-Member -Force -PassThru -NotePropertyName root -NotePropertyValue $state | ConvertTo-Json -Compress))
# Tasks run as this account. Its password is random and known to nobody, not even to us: the service logs it on without
# one (S4U). A new one each time, so that an older one is of no use either.
$random = New-Object byte[] 48
$generator = [Security.Cryptography.RandomNumberGenerator]::Create()
$generator.GetBytes($random)
$generator.Dispose()
$secret = ConvertTo-SecureString -AsPlainText -Force ([Convert]::ToBase64String($random) + 'aA1!')
if (Get-LocalUser -Name $account -ErrorAction SilentlyContinue) { Set-LocalUser -Name $account -Password $secret }
else {
    $null = New-LocalUser -Name $account -Password $secret -PasswordNeverExpires -UserMayNotChangePassword `
        -AccountNeverExpires -Description 'Runs the tasks of Millpond'
}
$secret.Dispose()
$sid = (Get-LocalUser -Name $account).SID.Value
# Nobody's member but of the users (S-1-5-32-545).
try { Add-LocalGroupMember -SID 'S-1-5-32-545' -Member $account }
catch [Microsoft.PowerShell.Commands.MemberExistsException] { Add-Line "$account is a user already" }
# Tasks start Python too, and read what start commands have laid; nothing else below the root.
Invoke-Native "$system32\icacls.exe" @($pythonFolder, '/grant', "*${sid}:(OI)(CI)RX", '/q')
$packages = Join-Path $state 'packages'
$null = New-Item -ItemType Directory -Force $packages
Invoke-Native "$system32\icacls.exe" @($packages, '/grant', "*${sid}:(OI)(CI)RX", '/q')

# Paths longer than 260 characters, for programs that are made for them; Python is.
Set-Registry 'HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem' 'LongPathsEnabled' 1
# A program that crashes ends, and opens no window that nobody sees (documented: Windows Error Reporting, DontShowUI).
Set-Registry 'HKLM:\SOFTWARE\Microsoft\Windows\Windows Error Reporting' 'DontShowUI' 1
Set-TimeZone -Id $plan.time_zone
# Never asleep, and no processor clocked down between two tasks (the scheme is Windows's own: high performance).
Invoke-Native "$system32\powercfg.exe" @('/setactive', '8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c')
foreach ($timer in 'standby-timeout-ac', 'hibernate-timeout-ac', 'disk-timeout-ac', 'monitor-timeout-ac') {
    Invoke-Native "$system32\powercfg.exe" @('/change', $timer, '0')
}
# Nothing inbound: every rule of the image's that allows some is put out of force, remote desktop and WinRM among them.
# Azure Batch talks to its own agent on a node and opens what that needs, so a Batch node keeps its rules.
Set-NetFirewallProfile -All -Enabled True -DefaultInboundAction Block -DefaultOutboundAction Allow
if (-not $env:AZ_BATCH_NODE_ID) { Set-NetFirewallProfile -All -AllowInboundRules False }
# Tasks reach neither the metadata address nor the machine agent's (168.63.129.16, but for names at its port 53): whoever
# does can act as the node. A block goes before every allow.
foreach ($name in 'millpond-metadata', 'millpond-agent') {
    Remove-NetFirewallRule -Name $name -ErrorAction SilentlyContinue
}
if (-not $plan.metadata_for_tasks) {
    $block = @{ Direction = 'Outbound'; Action = 'Block'; Profile = 'Any'; LocalUser = "D:(A;;CC;;;$sid)" }
    $null = New-NetFirewallRule @block -Name 'millpond-metadata' -RemoteAddress '169.254.169.254' `
        -DisplayName 'Millpond: no metadata for tasks'
    $null = New-NetFirewallRule @block -Name 'millpond-agent' -RemoteAddress '168.63.129.16' -Protocol TCP `
        -RemotePort 80, 32526 -DisplayName 'Millpond: no machine agent for tasks'
}
# A node is replaced, not patched: an update would take its processor and disk, and restart it under its tasks.
$updates = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU'
Set-Registry $updates 'NoAutoUpdate' $(if ($plan.windows_updates) { 0 } else { 1 })
Set-Registry $updates 'NoAutoRebootWithLoggedOnUsers' 1
Write-Record 0

Start-Step 4 'disk'
$work = Join-Path $state 'work'
if ($settings.data_disk) {
    # The pool's data disk is the one at LUN 0 of those that are attached: tasks work on it. Its label tells it from then
    # on; it is made only where the disk is blank.
    $volume = Get-Volume | Where-Object FileSystemLabel -EQ 'millpond' | Select-Object -First 1
    for ($tries = 0; $null -eq $volume -and $tries -lt 60; $tries++) {
        Update-HostStorageCache
        # A size's own NVMe disks are blank too, and go with the machine; their name tells them.
        $raw = Get-Disk | Where-Object { $_.PartitionStyle -eq 'RAW' -and $_.FriendlyName -notlike '*Direct Disk*' } |
            Sort-Object Location | Select-Object -First 1
        if ($null -eq $raw) { Add-Line 'waiting for the data disk'; Start-Sleep -Seconds 5; continue }
        if ($raw.IsOffline) { Set-Disk -Number $raw.Number -IsOffline $false }
        if ($raw.IsReadOnly) { Set-Disk -Number $raw.Number -IsReadOnly $false }
        $volume = Initialize-Disk -Number $raw.Number -PartitionStyle GPT -PassThru |
            New-Partition -AssignDriveLetter -UseMaximumSize |
            Format-Volume -FileSystem NTFS -NewFileSystemLabel 'millpond' -Confirm:$false
    }
    if ($null -eq $volume) { throw "there is no data disk; see that the group's data_disk was attached" }
    $work = "$($volume.DriveLetter):\millpond"
}
else {
    # The size's temporary disk (Azure's label): faster than the OS disk, and made for what is lost.
    $temporary = Get-Volume | Where-Object { $_.FileSystemLabel -eq 'Temporary Storage' -and $_.DriveLetter } |
        Select-Object -First 1
    if ($null -ne $temporary) { $work = "$($temporary.DriveLetter):\millpond" }
}
$null = New-Item -ItemType Directory -Force $work
Invoke-Native "$system32\icacls.exe" (@($work) + $closed + '/q')
Add-Line "tasks work in $work"
# What Defender reads of every file that a task writes costs a task dearly. The folder of the tasks alone is left out;
# their programs are still watched where they are installed. The image may come without Defender.
if (Get-Command Set-MpPreference -ErrorAction SilentlyContinue) {
    try {
        Set-MpPreference -DisableRealtimeMonitoring ($plan.defender -eq 'off')
        Remove-MpPreference -ExclusionPath $work -ErrorAction SilentlyContinue
        if ($plan.defender -eq 'exclude-tasks') { Add-MpPreference -ExclusionPath $work }
        # No scan of the whole disk while tasks run.
        Set-MpPreference -ScanScheduleDay Never -ScanAvgCPULoadFactor 5
    } catch { Add-Line "Defender keeps its own settings: $($_.Exception.Message)" }
}
Invoke-RunnerModule 'boot_settings' @(
    $settingsFile, $planFile, $runnerFile,
    "root=$work", "task_account=$account", "task_launcher=$(Join-Path $PSScriptRoot 'millpond-service.exe')")
Write-Record 0

if ($plan.packages.Count -or $plan.start_commands.Count) {
    # They record themselves, one by one; what fails there has its own record, and ends the boot here.
    & $python -m node_bootstrap.runner.boot_steps $runnerFile $planFile
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

Start-Step 7 'service'
# Windows has no host for a program that is not a service by itself. Ours is compiled here from the source in the bundle,
# by the compiler of the .NET Framework that every Windows Server brings.
$program = Join-Path $PSScriptRoot 'millpond-service.exe'
if (-not (Test-Path $program)) {
    Add-Type -TypeDefinition (Get-Content -Raw (Join-Path $PSScriptRoot 'service.cs')) -OutputType ConsoleApplication `
        -OutputAssembly "$program.part.exe" -ReferencedAssemblies 'System', 'System.ServiceProcess'
    Move-Item "$program.part.exe" $program
}
Invoke-Native "$system32\icacls.exe" @($program, '/grant', "*${sid}:RX", '/q')
$command = "`"$program`" service `"$python`" `"$runnerFile`" `"$(Join-Path $state 'service.log')`""
$service = Get-CimInstance Win32_Service -Filter "Name='$serviceName'"
if ($null -ne $service -and $service.PathName -ne $command) {
    # Another bundle: the old runner gives its tasks back and ends before the new one begins.
    Stop-Service -Name $serviceName -Force
    Invoke-Native "$system32\sc.exe" @('delete', $serviceName)
    for ($tries = 0; $tries -lt 60 -and (Get-Service $serviceName -ErrorAction SilentlyContinue); $tries++) {
        Start-Sleep -Seconds 1
    }
    $service = $null
}
if ($null -eq $service) {
    $null = New-Service -Name $serviceName -BinaryPathName $command -StartupType Automatic `
        -DisplayName 'Millpond task runner' -Description 'Runs the tasks of this node.'
}
# Started again when its process dies (the host itself restarts the runner). A host that ends by itself, with code 0, has
# retired: the node is about to be removed and takes nothing more, and Windows leaves it stopped.
Invoke-Native "$system32\sc.exe" @('failure', $serviceName, 'reset=', '3600', 'actions=', 'restart/5000/restart/5000/restart/30000')
Invoke-Native "$system32\sc.exe" @('failureflag', $serviceName, '1')
if ((Get-Service $serviceName).Status -ne 'Running') { Start-Service -Name $serviceName }
Write-Record 0
exit 0
